// arkvale eval: one task per file.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/cli.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"
#include "tools/common/output.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

struct Task {
  std::string_view name;
  std::string_view summary;
  int (*run)(int argc, char** argv);
};

constexpr auto kTasks = std::to_array<Task>({
    {"fidelity", "how far decode steps under a policy are from dense attention", RunFidelity},
    {"longbench", "questions, summaries and retrieval over long texts: LongBench's English sets", RunLongBench},
    {"passkey", "whether a number hidden in filler text is found again", RunPasskey},
    {"perplexity", "how well decode steps predict a text; mostly local, never evidence alone", RunPerplexity},
    {"ruler", "needles, chains of variables and word counts in long texts, after RULER", RunRuler},
    {"recall", "how many of the best pages the page summaries find", RunRecall},
    {"sparsity", "how few pages hold a layer's attention", RunSparsity},
    {"dynamics", "how the ranks of pages move from step to step", RunDynamics},
    {"recalls", "how many pages a step recalls at each budget and top-k", RunRecalls},
});

std::string Help() {
  std::string text = "Measures what a KV policy costs in quality.\n\nUsage: arkvale eval TASK [OPTIONS]\n\nTasks:\n";
  for (const Task& task : kTasks) {
    std::string line = "  " + std::string(task.name);
    line.resize(14, ' ');
    text += line + std::string(task.summary) + "\n";
  }
  return text + "\n'arkvale eval TASK --help' lists its options.\n";
}

}  // namespace

int RunEval(int argc, char** argv) {
  const Cli cli("eval", "");
  std::vector<std::string> names;
  for (const Task& task : kTasks) names.emplace_back(task.name);
  if (argc < 2) return cli.Fail(InvalidArgument("no task given: use " + names[0] + " or " + names[1]));
  const std::string name = argv[1];
  if (name == "--help" || name == "-h") {
    const Status written = Stdout().Write(Help());
    return written.ok() ? kExitDone : cli.Fail(written);
  }
  const auto* task = std::find_if(kTasks.begin(), kTasks.end(), [&](const Task& t) { return t.name == name; });
  if (task != kTasks.end()) return task->run(argc - 1, argv + 1);
  const std::string nearest = Nearest(name, names);
  return cli.Fail(InvalidArgument("unknown task '" + name +
                                  "': " + (nearest.empty() ? "see --help" : "did you mean " + nearest + "?")));
}

}  // namespace arkvale::tools
