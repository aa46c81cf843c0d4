// arkvale eval passkey (evaluation protocol 1).
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtime.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/passkey_report.h"
#include "tools/eval/passkey_text.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

struct Flags {
  EvalFlags eval;
  std::string lengths, seeds = "42";
  int32_t depths = 0, max_new = kPasskeyAnswerTokens;
  int64_t chars = 0;
};

struct RecordId {
  int64_t length_tokens = 0;
  uint64_t seed = 0;
  int32_t index = 0;  // of kPasskeyDepths
};

struct Plan {
  std::vector<int64_t> lengths, seeds;
  int32_t depths = kPasskeyDepths;
  Feeding feeding = Feeding::kThreeStage;
  std::vector<RecordId> records;
  std::vector<KvOptions> cells;  // dense first
  std::vector<NamedPlan> kv_plans;

  double work() const {
    double sum = 0;
    for (const RecordId& id : records) sum += static_cast<double>(id.length_tokens);
    return sum;
  }
};

void AddFlags(Cli& cli, Flags& flags) {
  const FlagGroup group(cli, "Records");
  group.Add("--lengths", flags.lengths, "N,...", "tokens of context, question and answer together", "the preset's");
  group.Add("--depths", flags.depths, "N", "records of each length, evenly deep: 1, 2, 4, 5, 10 or 20", "the preset's");
  group.Add("--chars", flags.chars, "N", "characters of filler instead of as many as --lengths has room for", "none");
  group.Add("--max-new", flags.max_new, "N", "longest answer in tokens", "16");
  group.Add("--seed", flags.seeds, "N,...", "seeds of the keys; records of all of them make one cell", "42");
  flags.eval.AddLimit(group, "only the first records of each length: seed by seed, depths from the start on", "all");
  flags.eval.AddFeed(group);
  flags.eval.Add(cli);
  flags.eval.AddRunCells(cli);
}

Status ApplyPreset(const Flags& flags, Preset preset, int64_t ctx_tokens, Plan& plan) {
  plan.lengths = {2048};
  plan.depths = 5;
  plan.seeds = {42};
  if (preset != Preset::kQuick) {
    plan.lengths = LengthGrid(ctx_tokens);
    plan.depths = kPasskeyDepths;
  }
  if (preset == Preset::kFull) plan.seeds = {42, 43, 44, 45, 46};
  if (!flags.lengths.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(plan.lengths, ParseNumbers("--lengths", flags.lengths, 1));
  }
  if (flags.seeds != "42") {
    ARKVALE_ASSIGN_OR_RETURN(plan.seeds, ParseNumbers("--seed", flags.seeds, 0));
  }
  if (flags.depths != 0) plan.depths = flags.depths;
  return OkStatus();
}

CellPreset Cells(Preset preset, int64_t ctx_tokens) {
  CellPreset cells = PresetCells(preset, ctx_tokens);
  if (preset == Preset::kFull) cells.pages = {32, 16};
  return cells;
}

Status Check(const Flags& flags, const Plan& plan, int64_t ctx_tokens) {
  if (plan.depths < 1 || kPasskeyDepths % plan.depths != 0) {
    return InvalidArgument("--depths " + std::to_string(plan.depths) + ": use 1, 2, 4, 5, 10 or 20");
  }
  if (flags.max_new < 1) return InvalidArgument("--max-new " + std::to_string(flags.max_new) + ": use 1 or more");
  if (flags.chars < 0) return InvalidArgument("--chars " + std::to_string(flags.chars) + ": use 1 or more");
  if (flags.chars > 0 && plan.lengths.size() != 1) {
    return InvalidArgument("--chars fixes the filler: give one --lengths, which then only names the keys");
  }
  const int64_t longest = *std::max_element(plan.lengths.begin(), plan.lengths.end());
  const int64_t needed = longest + std::max(0, flags.max_new - kPasskeyAnswerTokens);
  if (flags.chars == 0 && needed > ctx_tokens) {
    return InvalidArgument("--lengths " + std::to_string(longest) + ": " + std::to_string(needed) + " tokens > limit " +
                           std::to_string(ctx_tokens) + ": use smaller ones");
  }
  return OkStatus();
}

void AddRecords(int64_t length_tokens, int64_t limit, Plan& plan) {
  std::vector<RecordId> of_length;
  for (const int64_t seed : plan.seeds) {
    for (int32_t i = 0; i < kPasskeyDepths; i += kPasskeyDepths / plan.depths) {
      of_length.push_back({.length_tokens = length_tokens, .seed = static_cast<uint64_t>(seed), .index = i});
    }
  }
  KeepFirst(limit, of_length);
  plan.records.insert(plan.records.end(), of_length.begin(), of_length.end());
}

Result<Plan> MakePlan(const Flags& flags, const Runtime& runtime) {
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  Plan plan;
  ARKVALE_ASSIGN_OR_RETURN(plan.feeding, flags.eval.feeding());
  ARKVALE_RETURN_IF_ERROR(ApplyPreset(flags, preset, runtime.ctx_tokens(), plan));
  ARKVALE_RETURN_IF_ERROR(Check(flags, plan, runtime.ctx_tokens()));
  ARKVALE_ASSIGN_OR_RETURN(const int64_t limit, flags.eval.limit());
  for (const int64_t length : plan.lengths) AddRecords(length, limit, plan);
  ARKVALE_ASSIGN_OR_RETURN(EvalCells cells, flags.eval.CellsAndPlans(Cells(preset, runtime.ctx_tokens()), runtime));
  plan.cells = std::move(cells.options);
  plan.cells.insert(plan.cells.begin(), DenseOptions());
  plan.kv_plans = std::move(cells.plans);
  return plan;
}

Result<PasskeyRecord> MakeRecord(const Flags& flags, const Runtime& runtime, const RecordId& id) {
  ARKVALE_ASSIGN_OR_RETURN(PasskeyRecord record,
                           MakePasskeyRecord(runtime.tokenizer(), id.seed, id.length_tokens, id.index, flags.chars));
  const auto n_ids = static_cast<int64_t>(record.context.size() + record.question.size()) + flags.max_new;
  if (n_ids > runtime.ctx_tokens()) {
    return InvalidArgument("--chars " + std::to_string(flags.chars) + " makes " + std::to_string(n_ids) +
                           " tokens > limit " + std::to_string(runtime.ctx_tokens()) + ": use fewer");
  }
  return record;
}

Status RunRecord(const Flags& flags, const RunInfo& info, const PasskeyRecord& record, RecordRunner& runner) {
  return runner.Run({
      .labels = [&](const KvOptions& options) { return PasskeyLabels(info, record, options, flags.max_new); },
      .prompt =
          [&] {
            return RecordPrompt{record.context, record.question, ""};
          },
      .judge = [&](const Answer& answer, const Json&) { return PasskeyResult(record, answer); },
      .feeding = info.feeding,
      .max_new = flags.max_new,
      .work = static_cast<double>(record.length_tokens),
  });
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags, *runtime));
  ARKVALE_ASSIGN_OR_RETURN(RunInfo info, RunInfo::Make("passkey", options, flags.eval.kv_opt(), runtime->threads()));
  info.feeding = plan.feeding;
  info.plans = plan.kv_plans;
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  RecordRunner runner(*runtime, *log, plan.cells, static_cast<int64_t>(plan.records.size()), plan.work(),
                      flags.eval.quiet());
  for (const RecordId& id : plan.records) {
    ARKVALE_ASSIGN_OR_RETURN(const PasskeyRecord record, MakeRecord(flags, *runtime, id));
    ARKVALE_RETURN_IF_ERROR(RunRecord(flags, info, record, runner));
  }
  const Json summary = PasskeySummaryJson(info, plan.cells, runner.Finish());
  return log->Finish(summary, PasskeyTable(summary));
}

}  // namespace

int RunPasskey(int argc, char** argv) {
  Cli cli("eval passkey", "Hides a number in filler text and asks for it: dense attention first, then every cell.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
