// arkvale eval longbench (evaluation protocol 2).
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtime.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/longbench_prompt.h"
#include "tools/eval/longbench_report.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kQuickMaxPrompt = 3500, kQuickRecords = 2;

struct Flags {
  EvalFlags eval;
  std::string data, sets, chat = "auto";
  int64_t max_prompt = 0;
};

struct SetRecords {
  const LongBenchSet* set = nullptr;
  std::vector<LongBenchRecord> records;
};

struct Plan {
  std::vector<SetRecords> sets;
  std::vector<KvOptions> cells;  // dense first
  std::vector<NamedPlan> kv_plans;
  int64_t max_prompt = 0;
  bool chat = false;
  Feeding feeding = Feeding::kThreeStage;
};

void AddFlags(Cli& cli, Flags& flags) {
  const FlagGroup group(cli, "Records");
  cli.Require(group.Add("--data", flags.data, "DIR", "folder with SET.jsonl of each set, as LongBench has them", ""));
  group.Add("--sets", flags.sets, "NAME,...", "sets to ask", "the preset's");
  flags.eval.AddLimit(group, "only the first records of each set", "the preset's");
  group.Add("--max-prompt", flags.max_prompt, "N", "longest prompt in tokens; of longer ones the middle is cut",
            "the preset's, by the model's limit");
  group.Add("--chat", flags.chat, "WHEN",
            "wrap prompts in the model's chat template, but for few-shot and code sets: auto, on or off", "auto");
  flags.eval.AddFeed(group);
  flags.eval.Add(cli);
  flags.eval.AddRunCells(cli);
}

// The sets that are asked for; else the preset's, which are all in the folder but for quick.
Result<std::vector<const LongBenchSet*>> ChooseSets(const Flags& flags, Preset preset) {
  std::vector<const LongBenchSet*> sets;
  std::string names = flags.sets;
  if (names.empty() && preset == Preset::kQuick) names = "qasper,2wikimqa,triviaqa";
  if (names.empty()) {
    for (const LongBenchSet& set : LongBenchSets()) {
      if (std::filesystem::exists(LongBenchPath(flags.data, std::string(set.name)))) sets.push_back(&set);
    }
    if (sets.empty()) return NotFound(flags.data + " holds no set of LongBench: SET.jsonl is wanted");
    return sets;
  }
  for (const std::string& name : SplitCommas(names)) {
    ARKVALE_ASSIGN_OR_RETURN(const LongBenchSet* set, FindLongBenchSet(name));
    if (std::find(sets.begin(), sets.end(), set) == sets.end()) sets.push_back(set);
  }
  return sets;
}

Result<std::vector<SetRecords>> ReadSets(const Flags& flags, Preset preset) {
  std::error_code error;
  if (!std::filesystem::is_directory(flags.data, error)) return NotFound("--data " + flags.data + " is not a folder");
  ARKVALE_ASSIGN_OR_RETURN(int64_t limit, flags.eval.limit());
  if (limit == 0 && preset == Preset::kQuick) limit = kQuickRecords;
  ARKVALE_ASSIGN_OR_RETURN(const auto chosen, ChooseSets(flags, preset));
  std::vector<SetRecords> sets;
  for (const LongBenchSet* set : chosen) {
    ARKVALE_ASSIGN_OR_RETURN(auto records, ReadLongBench(LongBenchPath(flags.data, std::string(set->name)),
                                                         set->metric == LongBenchMetric::kClassification));
    KeepFirst(limit, records);
    sets.push_back({.set = set, .records = std::move(records)});
  }
  return sets;
}

Result<int64_t> ResolveMaxPrompt(const Flags& flags, Preset preset, int64_t ctx_tokens,
                                 const std::vector<SetRecords>& sets) {
  int64_t max_prompt = DefaultMaxPrompt(ctx_tokens);
  if (preset == Preset::kQuick) max_prompt = std::min(max_prompt, kQuickMaxPrompt);
  if (flags.max_prompt != 0) max_prompt = flags.max_prompt;
  int32_t max_new = 0;
  for (const SetRecords& s : sets) max_new = std::max(max_new, s.set->max_new);
  if (max_prompt < 2 || max_prompt > ctx_tokens - max_new) {
    return InvalidArgument("--max-prompt " + std::to_string(max_prompt) + ": use 2 to " +
                           std::to_string(ctx_tokens - max_new) + ", which with an answer of " +
                           std::to_string(max_new) + " tokens is the limit of " + std::to_string(ctx_tokens));
  }
  return max_prompt;
}

Result<Plan> MakePlan(const Flags& flags, Preset preset, std::vector<SetRecords> sets, const Runtime& runtime) {
  Plan plan;
  ARKVALE_ASSIGN_OR_RETURN(plan.feeding, flags.eval.feeding());
  plan.sets = std::move(sets);
  ARKVALE_ASSIGN_OR_RETURN(plan.max_prompt, ResolveMaxPrompt(flags, preset, runtime.ctx_tokens(), plan.sets));
  ARKVALE_ASSIGN_OR_RETURN(plan.chat, ResolveChat(flags.chat, runtime.tokenizer()));
  ARKVALE_ASSIGN_OR_RETURN(EvalCells cells,
                           flags.eval.CellsAndPlans(PresetCells(preset, runtime.ctx_tokens()), runtime));
  plan.cells = std::move(cells.options);
  plan.cells.insert(plan.cells.begin(), DenseOptions());
  plan.kv_plans = std::move(cells.plans);
  return plan;
}

// In tokens of prefill, roughly: steps cost more, and each cell has its own.
double Work(const Plan& plan, const LongBenchSet& set, const LongBenchRecord& record) {
  constexpr double kBytesPerToken = 4, kStepPerPrefill = 4;
  const double context =
      std::min(static_cast<double>(record.context.size()) / kBytesPerToken, static_cast<double>(plan.max_prompt));
  const double question = static_cast<double>(record.input.size()) / kBytesPerToken;
  const bool joint = plan.feeding == Feeding::kJoint;
  const double steps = set.max_new + (joint ? 0 : question);
  return context + (joint ? question : 0) + kStepPerPrefill * steps * static_cast<double>(plan.cells.size());
}

Result<int32_t> EndOfLine(const LongBenchSet& set, const Tokenizer& tokenizer) {
  if (!set.ends_at_line) return -1;
  ARKVALE_ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode("\n", false, false));
  return ids.empty() ? -1 : ids.back();
}

Status RunRecord(const RunInfo& info, const LongBenchRecordId& id, const Plan& plan, const Tokenizer& tokenizer,
                 RecordRunner& runner) {
  ARKVALE_ASSIGN_OR_RETURN(const int32_t end_id, EndOfLine(*id.set, tokenizer));
  LongBenchPrompt prompt;
  return runner.Run({
      .labels = [&](const KvOptions& options) { return LongBenchLabels(info, id, options); },
      .prompt = [&]() -> Result<RecordPrompt> {
        prompt = MakeLongBenchPrompt(tokenizer, *id.set, *id.record, id.max_prompt, id.chat);
        return prompt.ids;
      },
      .judge = [&](const Answer& answer,
                   const Json& dense) { return LongBenchResult(id, prompt.truncated, answer, dense); },
      .feeding = info.feeding,
      .max_new = id.set->max_new,
      .end_id = end_id,
      .work = Work(plan, *id.set, *id.record),
  });
}

Status RunRecords(const RunInfo& info, const Plan& plan, const Tokenizer& tokenizer, RecordRunner& runner) {
  for (const SetRecords& s : plan.sets) {
    for (size_t i = 0; i < s.records.size(); ++i) {
      const LongBenchRecordId id{.set = s.set,
                                 .record = &s.records[i],
                                 .index = static_cast<int64_t>(i),
                                 .max_prompt = plan.max_prompt,
                                 .chat = plan.chat && s.set->chat};
      ARKVALE_RETURN_IF_ERROR(RunRecord(info, id, plan, tokenizer, runner));
    }
  }
  return OkStatus();
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  ARKVALE_ASSIGN_OR_RETURN(std::vector<SetRecords> sets, ReadSets(flags, preset));
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags, preset, std::move(sets), *runtime));
  ARKVALE_ASSIGN_OR_RETURN(RunInfo info, RunInfo::Make("longbench", options, flags.eval.kv_opt(), runtime->threads()));
  info.feeding = plan.feeding;
  info.plans = plan.kv_plans;
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  int64_t n_records = 0;
  double work = 0;
  for (const SetRecords& s : plan.sets) {
    n_records += static_cast<int64_t>(s.records.size());
    for (const LongBenchRecord& record : s.records) work += Work(plan, *s.set, record);
  }
  RecordRunner runner(*runtime, *log, plan.cells, n_records, work, flags.eval.quiet());
  ARKVALE_RETURN_IF_ERROR(RunRecords(info, plan, runtime->tokenizer(), runner));
  const Json summary = LongBenchSummaryJson(info, plan.cells, runner.Finish());
  return log->Finish(summary, LongBenchTable(summary));
}

}  // namespace

int RunLongBench(int argc, char** argv) {
  Cli cli("eval longbench", "Asks the questions of LongBench's English sets: full attention first, then every cell.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
