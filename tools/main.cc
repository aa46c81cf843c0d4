// arkvale: one binary, one folder per command.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/build_info.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/interrupt.h"
#include "tools/common/output.h"

namespace arkvale::tools {
namespace {

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(int argc, char** argv);
};

constexpr auto kCommands = std::to_array<Command>({
    {"generate", "answer one prompt", RunGenerate},
    {"chat", "talk over many turns", RunChat},
    {"inspect", "say what a model file holds", RunInspect},
    {"synth", "write a synthetic model file", RunSynth},
    {"bench", "measure speed and memory, beside llama.cpp if wanted", RunBench},
    {"eval", "measure what a KV policy costs in quality", RunEval},
    {"plan", "share out a KV budget among the layers", RunPlan},
});

std::string Help() {
  std::string text =
      "arkvale: long contexts on a small KV cache; pages are evicted and recalled when they matter again\n\n"
      "Usage: arkvale COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    std::string line = "  " + std::string(command.name);
    line.resize(14, ' ');
    text += line + std::string(command.summary) + "\n";
  }
  return text + "\n'arkvale COMMAND --help' lists its options. 'arkvale --version' prints the version.\n";
}

int Print(const std::string& text) {
  const Status written = Stdout().Write(text);
  return written.ok() ? kExitDone : Cli("", "").Fail(written);
}

int UnknownCommand(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  const std::string nearest = Nearest(name, names);
  const std::string hint = nearest.empty() ? "see --help" : "did you mean " + nearest + "?";
  std::fprintf(stderr, "arkvale: unknown command '%s': %s\n", name.c_str(), hint.c_str());
  return kExitUsage;
}

int Main(int argc, char** argv) {
  IgnoreSigpipe();
  CatchInterrupt();
  if (argc < 2) {
    std::fputs("arkvale: no command given: see --help\n", stderr);
    return kExitUsage;
  }
  const std::string name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") return Print(Help());
  if (name == "--version") return Print(std::string("arkvale ") + Version() + "\n");
  const auto* command =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& c) { return c.name == name; });
  if (command == kCommands.end()) return UnknownCommand(name);
  return command->run(argc - 1, argv + 1);
}

}  // namespace
}  // namespace arkvale::tools

int main(int argc, char** argv) { return arkvale::tools::Main(argc, argv); }
