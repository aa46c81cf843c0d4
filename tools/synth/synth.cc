#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "model/synthetic.h"
#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/interrupt.h"
#include "tools/common/progress.h"

namespace arkvale::tools {
namespace {

template <typename Names>
std::string Join(const Names& names) {
  std::string text;
  for (const auto& name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

std::string PresetList() {
  std::string text = "Presets:\n";
  for (const SyntheticPreset& preset : SyntheticPresets()) {
    std::string line = "  " + std::string(preset.name);
    line.resize(18, ' ');
    text += line + std::string(preset.summary) + "\n";
  }
  return text + "Sizes are those of the default types. Weights are random, but induction's.";
}

}  // namespace

int RunSynth(int argc, char** argv) {
  Cli cli("synth", "Writes a synthetic model file (GGUF) for tests and speed runs.");
  SyntheticOptions options;
  std::string path;
  bool quiet = false;
  cli.app().add_option("--preset", options.preset, "shape; see below")->type_name("P")->capture_default_str();
  cli.app()
      .add_option("--arch", options.architecture, Join(SyntheticArchitectures()) + " (default: the preset's)")
      ->type_name("A");
  cli.app()
      .add_option("--type", options.type,
                  "element type of the matrices, by ggml's name: f16, q8_0, q4_K ... "
                  "(default: the preset's)")
      ->type_name("T");
  cli.app()
      .add_option("--rope", options.rope, "rope scaling: " + Join(SyntheticRopes()) + " (default: the preset's)")
      ->type_name("R");
  cli.app()
      .add_option("--ctx", options.context_tokens, "longest context in tokens (default: the preset's)")
      ->type_name("N");
  cli.app().add_option("--seed", options.seed, "of the random weights")->type_name("N")->capture_default_str();
  cli.Require(cli.app().add_option("-o,--output", path, "the file to write")->type_name("FILE"));
  cli.app().add_flag("--quiet", quiet, "no progress on stderr");
  cli.app().footer(PresetList());
  if (const auto exit_code = cli.Parse(argc, argv)) return *exit_code;

  Progress progress(quiet);
  const Status status = WriteSynthetic(options, path, [&](int64_t done_bytes, int64_t total_bytes) {
    constexpr int64_t kMiB = 1 << 20;
    if (total_bytes > 64 * kMiB) progress.Show("write", done_bytes / kMiB, total_bytes / kMiB, "MiB");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  });
  progress.Clear();
  return status.ok() ? kExitDone : cli.Fail(status);
}

}  // namespace arkvale::tools
