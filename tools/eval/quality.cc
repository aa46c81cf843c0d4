// arkvale eval recall, sparsity, dynamics and recalls (evaluation protocol 5).
#include "tools/eval/quality.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tools/common/interrupt.h"
#include "tools/common/progress.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/longbench_prompt.h"
#include "tools/eval/quality_log.h"
#include "tools/eval/records.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

// What differs between the tasks.
struct TaskKind {
  const char* name;
  const char* description;
  std::unique_ptr<QualityStudy> (*make)(StudyInput);
  std::unique_ptr<QualitySummary> (*summary)();
  std::string (*table)(const Json& summary);
  bool judges_digests;     // every digest is a cell, else --kv-digest alone
  bool dense_layers_too;   // all layers of full attention, else the managed ones
  bool one_layer = false;  // the middle one, unless --layers says otherwise
};

constexpr TaskKind kRecall = {"recall",
                              "Compares the pages that digests find with those that hold the largest q.k, on the "
                              "steps of a dense run.",
                              MakeRecallStudy,
                              MakeRecallSummary,
                              RecallTable,
                              true,
                              false};
constexpr TaskKind kSparsity = {"sparsity",
                                "Counts the pages that hold 90 % and 99 % of each layer's attention.",
                                MakeSparsityStudy,
                                MakeSparsitySummary,
                                SparsityTable,
                                false,
                                true};
constexpr TaskKind kDynamics = {"dynamics",
                                "Follows the ranks of pages from step to step.",
                                MakeDynamicsStudy,
                                MakeDynamicsSummary,
                                DynamicsTable,
                                false,
                                false,
                                true};
constexpr TaskKind kRecalls = {"recalls",
                               "Counts the pages recalled a step at every capacity and top-k.",
                               MakeRecallsStudy,
                               MakeRecallsSummary,
                               RecallsTable,
                               false,
                               false};

struct Flags {
  EvalFlags eval;
  std::string texts, contexts, data, sets, chat = "auto", ks, layers, page_ids, capacities, topks;
  int64_t steps = 0, max_prompt = 0;
  bool simulate = false;
  const CLI::Option* kv_group = nullptr;
};

void AddFlags(Cli& cli, const TaskKind& task, Flags& flags) {
  const FlagGroup records(cli, "Records");
  records.Add("--text", flags.texts, "FILE,...", "UTF-8 texts: a context, then steps of what follows", "none");
  records.Add("--context", flags.contexts, "N", "tokens of a text before its steps", "the preset's");
  records.Add("--data", flags.data, "DIR", "LongBench records: the context, then the question and the dense answer",
              "none");
  records.Add("--sets", flags.sets, "NAME,...", "LongBench sets", "all of DIR");
  records.Add("--chat", flags.chat, "auto|on|off", "wrap LongBench prompts in the model's chat template", "auto");
  records.Add("--max-prompt", flags.max_prompt, "N", "longer LongBench prompts lose their middle",
              "by the model's context");
  flags.eval.AddLimit(records, "first records of each set, or windows of each text", "the preset's");
  records.Add("--steps", flags.steps, "N", "steps observed of each record", "the preset's");
  const FlagGroup measures(cli, "Measures");
  measures.Add("--layers", flags.layers, "L,...", "layers to look at",
               task.one_layer ? "the middle managed one" : "all");
  if (task.make == MakeRecallStudy) measures.Add("--ks", flags.ks, "K,...", "k of recall@k", "1..40");
  if (task.make == MakeDynamicsStudy)
    measures.Add("--page-ids", flags.page_ids, "P,...", "pages to follow", "0 and the widest 6");
  if (task.make == MakeRecallsStudy || task.make == MakeDynamicsStudy) {
    const bool grid = task.make == MakeRecallsStudy;
    measures.Add("--capacities", flags.capacities, "N,...", "pages kept", grid ? "4..128" : "the budget's");
    measures.Add("--topks", flags.topks, "K,...", "pages chosen a step", grid ? "4..64" : "the paper's of the budget");
  }
  if (task.make == MakeRecallsStudy) {
    measures.AddSwitch("--simulate", flags.simulate,
                       "the ArkVale paper's set-up: true ranking of a layer, nothing pinned");
  }
  flags.eval.Add(cli);
  flags.kv_group = FindOption(cli, "--kv-group");
}

struct Plan {
  std::vector<QualityInput> inputs;
  int64_t steps = 0;
  QualityOptions options;
  std::vector<std::vector<KvOptions>> cells;  // by page size
};

CellPreset Cells(const TaskKind& task, Preset preset) {
  CellPreset cells{.policies = {KvPolicyKind::kArkvale}, .budgets = {1024}, .pages = {}};
  if (!task.judges_digests) return cells;
  using enum DigestKind;
  cells.digests = {kCentroid, kCuboidMax, kCuboidMean, kCode1, kCode2};
  if (preset == Preset::kFull) {
    cells.digests = {kCentroid,     kSphereMax,  kSphereCenter, kSphereMean, kCuboidMax,
                     kCuboidCenter, kCuboidMean, kCode1,        kCode2};
  }
  return cells;
}

// Layers that the task may look at, and those that it does.
Status ChooseLayers(const TaskKind& task, const Flags& flags, const KvShape& shape, int32_t n_dense, Plan& plan) {
  std::vector<int32_t> layers;
  for (int32_t l = task.dense_layers_too ? 0 : n_dense; l < shape.n_layers(); ++l) {
    if (shape.layers[l].window == 0) layers.push_back(l);
  }
  if (layers.empty()) return InvalidArgument("the model has no layer to look at: use a smaller --kv-dense-layers");
  plan.options.layers = task.one_layer ? std::vector{layers[layers.size() / 2]} : layers;
  if (flags.layers.empty()) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(const auto wanted, ParseNumbers("--layers", flags.layers, 0));
  plan.options.layers.clear();
  for (const int64_t l : wanted) {
    if (std::find(layers.begin(), layers.end(), l) == layers.end()) {
      return InvalidArgument("--layers " + std::to_string(l) + ": " +
                             (l < shape.n_layers() ? "a dense or sliding layer"
                                                   : "the model has " + std::to_string(shape.n_layers()) + " layers") +
                             ": use others");
    }
    plan.options.layers.push_back(static_cast<int32_t>(l));
  }
  std::sort(plan.options.layers.begin(), plan.options.layers.end());
  return OkStatus();
}

Status ParseMeasures(const TaskKind& task, const Flags& flags, QualityOptions& options) {
  const auto parse = [](const char* name, const std::string& text, int64_t min, std::vector<int64_t>& list) -> Status {
    if (text.empty()) return OkStatus();
    ARKVALE_ASSIGN_OR_RETURN(list, ParseNumbers(name, text, min));
    return OkStatus();
  };
  options.ks.resize(40);
  std::iota(options.ks.begin(), options.ks.end(), 1);
  if (task.make == MakeRecallsStudy) {
    options.capacities = {4, 6, 8, 12, 16, 24, 32, 40, 64, 96, 128};
    options.topks = {4, 6, 8, 12, 16, 24, 32, 40, 64};
  }
  options.simulate = flags.simulate;
  ARKVALE_RETURN_IF_ERROR(parse("--ks", flags.ks, 1, options.ks));
  ARKVALE_RETURN_IF_ERROR(parse("--page-ids", flags.page_ids, 0, options.page_ids));
  ARKVALE_RETURN_IF_ERROR(parse("--capacities", flags.capacities, 1, options.capacities));
  return parse("--topks", flags.topks, 1, options.topks);
}

Status MakeCells(const TaskKind& task, const Flags& flags, Preset preset, const ModelInfo& model, Plan& plan) {
  ARKVALE_ASSIGN_OR_RETURN(const auto cells, flags.eval.Cells(Cells(task, preset), model));
  std::map<int32_t, std::vector<KvOptions>> by_page;
  for (const KvOptions& cell : cells) {
    if (cell.policy != KvPolicyKind::kArkvale) {
      return InvalidArgument("--policies " + std::string(KvPolicyName(cell.policy)) + ": eval " + task.name +
                             " judges the pages that arkvale chooses");
    }
    if (cell.combine != CombineKind::kAuto && cell.combine != CombineKind::kMean) {
      return InvalidArgument("--kv-opt combine: eval " + std::string(task.name) + " ranks by the mean alone");
    }
    by_page[cell.page_tokens].push_back(cell);
  }
  if (by_page.empty()) return InvalidArgument("no cell: --policies must name arkvale");
  for (auto& [page, list] : by_page) plan.cells.push_back(std::move(list));
  plan.options.groups = {1};
  const KvOptions& any = plan.cells.front().front();
  if (Given(flags.kv_group)) {
    plan.options.groups = {any.group_heads};
  } else if (flags.simulate) {
    plan.options.groups = {model.n_kv_heads};
  } else if (model.n_kv_heads > 1) {
    plan.options.groups.push_back(model.n_kv_heads);
  }
  return OkStatus();
}

Status ReadInputs(const Flags& flags, Preset preset, const Runtime& runtime, Plan& plan) {
  const bool quick = preset == Preset::kQuick;
  plan.steps = flags.steps > 0 ? flags.steps : quick ? 16 : preset == Preset::kStandard ? 64 : 256;
  ARKVALE_ASSIGN_OR_RETURN(const int64_t limit, flags.eval.limit());
  const int64_t n_records = limit > 0 ? limit : quick ? 1 : 4;
  if (flags.texts.empty() == flags.data.empty()) return InvalidArgument("give either --text or --data");
  if (!flags.texts.empty()) {
    TextSource source{.path = {}, .n_records = n_records, .context_tokens = runtime.ctx_tokens() > 8192 ? 16384 : 7168};
    if (quick) source.context_tokens = 2048;
    if (!flags.contexts.empty()) {
      ARKVALE_ASSIGN_OR_RETURN(const auto contexts, ParseNumbers("--context", flags.contexts, 1));
      source.context_tokens = contexts.front();
      if (contexts.size() > 1) return InvalidArgument("--context " + flags.contexts + ": use one length");
    }
    for (const std::string& path : SplitCommas(flags.texts)) {
      source.path = path;
      ARKVALE_ASSIGN_OR_RETURN(auto inputs, ReadTextInputs(runtime, source, plan.steps));
      for (QualityInput& input : inputs) plan.inputs.push_back(std::move(input));
    }
  } else {
    LongBenchSource source{.dir = flags.data, .sets = {}, .n_records = n_records, .max_prompt = flags.max_prompt};
    if (!flags.sets.empty()) source.sets = SplitCommas(flags.sets);
    ARKVALE_ASSIGN_OR_RETURN(source.chat, ResolveChat(flags.chat, runtime.tokenizer()));
    ARKVALE_ASSIGN_OR_RETURN(plan.inputs, ReadLongBenchInputs(runtime, source));
  }
  for (const QualityInput& input : plan.inputs) {
    const int64_t needed = std::ssize(input.context) + plan.steps;
    if (needed > runtime.ctx_tokens()) {
      return InvalidArgument("record " + input.id + ": " + std::to_string(needed) + " tokens with its steps > limit " +
                             std::to_string(runtime.ctx_tokens()) +
                             ": use a smaller --context, --max-prompt or --steps");
    }
  }
  return OkStatus();
}

// A record without any of the pages would leave no line.
Status CheckPageIds(const Plan& plan) {
  int64_t longest = 0;
  for (const QualityInput& input : plan.inputs) longest = std::max(longest, std::ssize(input.context) + plan.steps);
  const int64_t smallest = plan.cells.front().front().page_tokens;
  const int64_t n_pages = (longest + smallest - 1) / smallest;
  for (const int64_t page : plan.options.page_ids) {
    if (page >= n_pages) {
      return InvalidArgument("--page-ids " + std::to_string(page) + ": the longest record has " +
                             std::to_string(n_pages) + " pages: use smaller ones");
    }
  }
  return OkStatus();
}

Result<Plan> MakePlan(const TaskKind& task, const Flags& flags, const Runtime& runtime, const KvShape& shape) {
  if (flags.steps < 0) return InvalidArgument("--steps " + std::to_string(flags.steps) + ": use 1 or more");
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  Plan plan;
  ARKVALE_RETURN_IF_ERROR(ParseMeasures(task, flags, plan.options));
  ARKVALE_RETURN_IF_ERROR(MakeCells(task, flags, preset, runtime.info(), plan));
  const int32_t n_dense = plan.cells.front().front().dense_layers;
  ARKVALE_RETURN_IF_ERROR(ChooseLayers(task, flags, shape, n_dense, plan));
  ARKVALE_RETURN_IF_ERROR(ReadInputs(flags, preset, runtime, plan));
  ARKVALE_RETURN_IF_ERROR(CheckPageIds(plan));
  return plan;
}

// All that decides the lines of records beside what is fed.
Json Setup(const RunInfo& run, const Plan& plan) {
  Json cells = Json::array();
  for (const auto& of_page : plan.cells) {
    for (const KvOptions& cell : of_page) cells.push_back(CellFields(run, cell));
  }
  const auto& [ks, layers, groups, page_ids, capacities, topks, simulate] = plan.options;
  return {{"cells", std::move(cells)}, {"steps", plan.steps}, {"ks", ks},
          {"layers", layers},          {"groups", groups},    {"page_ids", page_ids},
          {"capacities", capacities},  {"topks", topks},      {"simulate", simulate}};
}

using Studies = std::vector<std::unique_ptr<QualityStudy>>;

// The lines of record i, run now.
Result<std::vector<Json>> RunRecord(Runtime& runtime, const Plan& plan, size_t i, const Studies& studies,
                                    Progress& progress) {
  const auto tell = [&](const char* what, int64_t done, int64_t total) {
    progress.Show("record " + std::to_string(i + 1) + "/" + std::to_string(plan.inputs.size()) + ", " + what, done,
                  total, "tokens");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  };
  ARKVALE_ASSIGN_OR_RETURN(const QualityRecord record, ObserveRecord(runtime, plan.inputs[i], DenseOptions(), studies,
                                                                     plan.options.layers, plan.steps, tell));
  progress.Clear();
  std::vector<Json> lines;
  for (const auto& study : studies) {
    for (Json& line : study->EndRecord(record)) lines.push_back(std::move(line));
  }
  return lines;
}

// Records of an earlier run are not run again.
Status RunRecords(Runtime& runtime, const RunInfo& info, const TaskKind& task, const Flags& flags, const Plan& plan) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  const Json setup = Setup(info, plan);
  std::vector<std::string> works;
  for (const QualityInput& input : plan.inputs) works.push_back(WorkId(setup, input));
  ARKVALE_ASSIGN_OR_RETURN(const auto earlier, EarlierRecords::Load(flags.eval.out(), works));
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  Studies studies;
  for (const auto& cells : plan.cells) {
    studies.push_back(task.make({info, runtime.cache().shape(), plan.options, cells}));
  }
  const auto rows = task.summary();
  Progress progress(flags.eval.quiet());
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    std::vector<Json> lines = earlier.Lines(works[i]);
    if (!lines.empty()) {
      for (const Json& line : lines) ARKVALE_RETURN_IF_ERROR(log->Repeat(line));
    } else {
      ARKVALE_ASSIGN_OR_RETURN(lines, RunRecord(runtime, plan, i, studies, progress));
      MarkLines(works[i], lines);
      for (const Json& line : lines) ARKVALE_RETURN_IF_ERROR(log->Write(line));
    }
    rows->Add(lines);
  }
  Json summary = CellSummary(info, rows->Rows());
  summary.update({{"records", plan.inputs.size()}, {"steps", plan.steps}, {"kv_groups", plan.options.groups}});
  return log->Finish(summary, task.table(summary));
}

Status Run(const TaskKind& task, const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(task, flags, *runtime, runtime->cache().shape()));
  ARKVALE_ASSIGN_OR_RETURN(const RunInfo info,
                           RunInfo::Make(task.name, options, flags.eval.kv_opt(), runtime->threads()));
  return RunRecords(*runtime, info, task, flags, plan);
}

int RunQuality(const TaskKind& task, int argc, char** argv) {
  Cli cli("eval " + std::string(task.name), task.description);
  Flags flags;
  AddFlags(cli, task, flags);
  return cli.Run(argc, argv, [&] { return Run(task, flags); });
}

}  // namespace

int RunRecall(int argc, char** argv) { return RunQuality(kRecall, argc, argv); }
int RunSparsity(int argc, char** argv) { return RunQuality(kSparsity, argc, argv); }
int RunDynamics(int argc, char** argv) { return RunQuality(kDynamics, argc, argv); }
int RunRecalls(int argc, char** argv) { return RunQuality(kRecalls, argc, argv); }

}  // namespace arkvale::tools
