// arkvale eval ruler (evaluation protocol 3).
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "engine/runtime.h"
#include "tools/common/text_input.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/ruler_book.h"
#include "tools/eval/ruler_prompt.h"
#include "tools/eval/ruler_report.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kMaxSamples = 10000;
constexpr size_t kBookHashDigits = 8;

struct Flags {
  EvalFlags eval;
  std::string tasks, lengths, seeds = "42", book;
  int64_t samples = 0;
};

struct Book {
  std::vector<std::string> sentences;
  std::string sha256_prefix;
};

// The records of one task at one length.
struct Group {
  int64_t length_tokens = 0;
  const RulerTask* task = nullptr;
};

struct Plan {
  std::vector<const RulerTask*> tasks;
  std::vector<int64_t> lengths, seeds;
  std::vector<Group> groups, left_out;  // of tasks and lengths; left out where a preset's length is too short
  int64_t samples = 0;
  Feeding feeding = Feeding::kThreeStage;
  std::vector<RulerRecordId> records;
  std::vector<KvOptions> cells;  // dense first
  std::vector<NamedPlan> kv_plans;
  Book book;  // empty where no task needs it

  double work() const {
    double sum = 0;
    for (const RulerRecordId& id : records) sum += static_cast<double>(id.length_tokens);
    return sum;
  }
};

void AddFlags(Cli& cli, Flags& flags) {
  const FlagGroup group(cli, "Records");
  std::string names;
  for (const RulerTask& task : RulerTasks()) names += std::string(names.empty() ? "" : ", ") + std::string(task.name);
  group.Add("--tasks", flags.tasks, "NAME,...", "tasks: " + names, "the preset's");
  group.Add("--lengths", flags.lengths, "N,...", "tokens of context, question and answer together", "the preset's");
  group.Add("--samples", flags.samples, "N", "records of each task, length and seed", "the preset's");
  group.Add("--book", flags.book, "FILE", "UTF-8 text whose sentences hide the needles of most tasks", "none");
  group.Add("--seed", flags.seeds, "N,...", "seeds of the texts; records of all of them make one cell", "42");
  flags.eval.AddLimit(group, "only the first records of each task and length", "all");
  flags.eval.AddFeed(group);
  flags.eval.Add(cli);
  flags.eval.AddRunCells(cli);
}

Status ParseTasks(const std::string& text, std::vector<const RulerTask*>& tasks) {
  tasks.clear();
  std::vector<std::string> names;
  for (const RulerTask& task : RulerTasks()) names.emplace_back(task.name);
  for (const std::string& name : SplitCommas(text)) {
    const RulerTask* task = FindRulerTask(name);
    if (task == nullptr) {
      const std::string nearest = Nearest(name, names);
      return InvalidArgument("--tasks '" + name +
                             "' is unknown: " + (nearest.empty() ? "see --help" : "did you mean " + nearest + "?"));
    }
    if (std::find(tasks.begin(), tasks.end(), task) == tasks.end()) tasks.push_back(task);
  }
  return OkStatus();
}

// Sizes of evaluation protocol 0.7.
Status ApplyPreset(const Flags& flags, Preset preset, int64_t ctx_tokens, Plan& plan) {
  plan.tasks = {FindRulerTask("S-1"), FindRulerTask("MK-1"), FindRulerTask("VT")};
  plan.lengths = {2048};
  plan.samples = 5;
  if (preset != Preset::kQuick) {
    plan.tasks.clear();
    for (const RulerTask& task : RulerTasks()) plan.tasks.push_back(&task);
    plan.lengths = LengthGrid(ctx_tokens);
    plan.samples = 100;
  }
  if (preset == Preset::kStandard) {
    plan.lengths = {4096, plan.lengths.back()};
    plan.samples = 25;
  }
  if (!flags.tasks.empty()) ARKVALE_RETURN_IF_ERROR(ParseTasks(flags.tasks, plan.tasks));
  if (!flags.lengths.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(plan.lengths, ParseNumbers("--lengths", flags.lengths, 1));
  }
  if (flags.samples != 0) plan.samples = flags.samples;
  ARKVALE_ASSIGN_OR_RETURN(plan.seeds, ParseNumbers("--seed", flags.seeds, 0));
  return OkStatus();
}

Status Check(const Plan& plan, int64_t ctx_tokens) {
  if (plan.samples < 1 || plan.samples > kMaxSamples) {
    return InvalidArgument("--samples " + std::to_string(plan.samples) + ": use a number from 1 to " +
                           std::to_string(kMaxSamples));
  }
  const int64_t longest = *std::max_element(plan.lengths.begin(), plan.lengths.end());
  if (longest > ctx_tokens) {
    return InvalidArgument("--lengths " + std::to_string(longest) + " tokens > limit " + std::to_string(ctx_tokens) +
                           ": use smaller ones");
  }
  return OkStatus();
}

Status ReadBook(const Flags& flags, int64_t ctx_tokens, Plan& plan) {
  const auto needs = std::find_if(plan.tasks.begin(), plan.tasks.end(),
                                  [](const RulerTask* task) { return task->haystack == RulerHaystack::kBook; });
  if (needs == plan.tasks.end()) return OkStatus();
  if (flags.book.empty()) {
    return InvalidArgument(std::string((*needs)->name) +
                           " hides its needles in a book: give one with --book, or --tasks without it");
  }
  ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.book, ctx_tokens));
  plan.book = {.sentences = BookSentences(text), .sha256_prefix = Sha256Hex(text).substr(0, kBookHashDigits)};
  if (plan.book.sentences.empty()) return InvalidArgument(flags.book + " holds no sentence: use another --book");
  return OkStatus();
}

RulerRecordId RecordId(const Plan& plan, const Group& group, int64_t seed, int64_t index) {
  return {.task = group.task,
          .seed = static_cast<uint64_t>(seed),
          .length_tokens = group.length_tokens,
          .index = index,
          .book_sha256_prefix = group.task->haystack == RulerHaystack::kBook ? plan.book.sha256_prefix : ""};
}

// Finds lengths too short for a task before anything runs.
Status MakeGroups(const Flags& flags, const Tokenizer& tokenizer, Plan& plan) {
  for (const int64_t length : plan.lengths) {
    for (const RulerTask* task : plan.tasks) {
      const Group group{length, task};
      const RulerRecordId id = RecordId(plan, group, plan.seeds.front(), 0);
      const Status fits = MakeRulerRecord(tokenizer, id, plan.book.sentences).status();
      if (!fits.ok() && !flags.lengths.empty()) return fits;
      (fits.ok() ? plan.groups : plan.left_out).push_back(group);
    }
  }
  return OkStatus();
}

void AddRecords(const Group& group, int64_t limit, Plan& plan) {
  std::vector<RulerRecordId> of_group;
  for (const int64_t seed : plan.seeds) {
    for (int64_t i = 0; i < plan.samples; ++i) of_group.push_back(RecordId(plan, group, seed, i));
  }
  KeepFirst(limit, of_group);
  plan.records.insert(plan.records.end(), of_group.begin(), of_group.end());
}

Json LeftOutJson(const Plan& plan) {
  Json list = Json::array();
  for (const Group& group : plan.left_out) {
    list.push_back({{"ruler_task", group.task->name}, {"length_tokens", group.length_tokens}});
  }
  return list;
}

Result<Plan> MakePlan(const Flags& flags, const Runtime& runtime) {
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  Plan plan;
  ARKVALE_ASSIGN_OR_RETURN(plan.feeding, flags.eval.feeding());
  ARKVALE_RETURN_IF_ERROR(ApplyPreset(flags, preset, runtime.ctx_tokens(), plan));
  ARKVALE_RETURN_IF_ERROR(Check(plan, runtime.ctx_tokens()));
  ARKVALE_RETURN_IF_ERROR(ReadBook(flags, runtime.info().context_tokens, plan));
  ARKVALE_ASSIGN_OR_RETURN(const int64_t limit, flags.eval.limit());
  ARKVALE_RETURN_IF_ERROR(MakeGroups(flags, runtime.tokenizer(), plan));
  for (const Group& group : plan.groups) AddRecords(group, limit, plan);
  ARKVALE_ASSIGN_OR_RETURN(EvalCells cells,
                           flags.eval.CellsAndPlans(PresetCells(preset, runtime.ctx_tokens()), runtime));
  plan.cells = std::move(cells.options);
  plan.cells.insert(plan.cells.begin(), DenseOptions());
  plan.kv_plans = std::move(cells.plans);
  return plan;
}

Status RunRecord(const RunInfo& info, const RulerRecordId& id, const Plan& plan, const Tokenizer& tokenizer,
                 RecordRunner& runner) {
  RulerRecord record;
  return runner.Run({
      .labels = [&](const KvOptions& options) { return RulerLabels(info, id, options); },
      .prompt = [&]() -> Result<RecordPrompt> {
        ARKVALE_ASSIGN_OR_RETURN(record, MakeRulerRecord(tokenizer, id, plan.book.sentences));
        return record.prompt;
      },
      .judge = [&](const Answer& answer, const Json&) { return RulerResult(id, record.text, record.size, answer); },
      .feeding = info.feeding,
      .max_new = id.task->max_new,
      .work = static_cast<double>(id.length_tokens),
  });
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags, *runtime));
  ARKVALE_ASSIGN_OR_RETURN(RunInfo info, RunInfo::Make("ruler", options, flags.eval.kv_opt(), runtime->threads()));
  info.feeding = plan.feeding;
  info.plans = plan.kv_plans;
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  RecordRunner runner(*runtime, *log, plan.cells, static_cast<int64_t>(plan.records.size()), plan.work(),
                      flags.eval.quiet());
  for (const RulerRecordId& id : plan.records) {
    ARKVALE_RETURN_IF_ERROR(RunRecord(info, id, plan, runtime->tokenizer(), runner));
  }
  Json summary = RulerSummaryJson(info, plan.cells, runner.Finish());
  summary["left_out"] = LeftOutJson(plan);
  return log->Finish(summary, RulerTable(summary));
}

}  // namespace

int RunRuler(int argc, char** argv) {
  Cli cli("eval ruler",
          "Needles, chains of variables and word counts in long texts, after RULER: full attention first, "
          "then every cell.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
