// arkvale eval fidelity (evaluation protocol 4).
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/common/interrupt.h"
#include "tools/common/progress.h"
#include "tools/eval/fidelity_plan.h"
#include "tools/eval/fidelity_report.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

// One run of the command: what all windows share. A record is written as soon as its segment is through; those of an
// earlier run are taken from its log.
class FidelityTask {
 public:
  // `reference` keeps f16; it is `runtime` where that does too.
  FidelityTask(const FidelityFlags& flags, const FidelityPlan& plan, Runtime& reference, Runtime& runtime,
               FidelityCells cells, RecordLog& log)
      : flags_(flags),
        plan_(plan),
        reference_(reference),
        runtime_(runtime),
        cells_(std::move(cells)),
        log_(log),
        progress_(flags.eval.quiet()) {}

  Status Run();

 private:
  // The context of a window, once a segment of it has to run.
  struct Contexts {
    std::optional<Session> dense, typed;
    PrefilledContext reference, base;
  };

  Status RunWindow(const PlannedWindow& window);
  Status RunSegment(const SegmentInfo& segment, std::span<const int32_t> ids, std::vector<CellTotals>& totals,
                    Contexts& contexts);
  Result<std::vector<Json>> Measure(const SegmentInfo& segment, std::span<const int32_t> ids,
                                    const std::vector<size_t>& missing, const Contexts& contexts);
  Status Prefill(std::span<const int32_t> ids, Contexts& contexts);
  Result<Session> Prefill(Runtime& runtime, std::span<const int32_t> ids);
  Status Take(const Json& record, CellTotals& totals);
  void Show(const std::string& what, int64_t done, int64_t total, const std::string& unit);

  const FidelityFlags& flags_;
  const FidelityPlan& plan_;
  Runtime& reference_;
  Runtime& runtime_;
  FidelityCells cells_;
  RecordLog& log_;
  Progress progress_;
  std::unique_ptr<TextFile> steps_file_;
  std::vector<std::vector<CellTotals>> totals_;  // by context length, then cell
  int64_t runs_done_ = 0;
  double work_left_ = 0, work_done_ = 0, seconds_ = 0;  // tokens of windows that had to run
};

Status FidelityTask::Run() {
  if (!flags_.steps_out.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(steps_file_, TextFile::Open(flags_.steps_out, false));
  }
  for (const int64_t n : plan_.contexts) {
    auto& cells = totals_.emplace_back();
    for (const KvOptions& options : plan_.cells) cells.emplace_back(options, n).plan = PlanName(cells_.run, options);
  }
  for (const PlannedWindow& window : plan_.planned) work_left_ += static_cast<double>(window.info.context_tokens);
  for (const PlannedWindow& window : plan_.planned) ARKVALE_RETURN_IF_ERROR(RunWindow(window));
  progress_.Clear();
  const Json summary = FidelitySummaryJson(cells_, totals_);
  return log_.Finish(summary, FidelityTable(summary));
}

Status FidelityTask::RunWindow(const PlannedWindow& window) {
  const int64_t start_ns = NowNs();
  const Tokenizer& tokenizer = runtime_.tokenizer();
  const auto bos = tokenizer.add_bos() ? std::optional<int32_t>(tokenizer.bos()) : std::nullopt;
  const SegmentInfo& info = window.info;
  const auto ids = WindowIds(plan_.texts[window.text], info.start_token, info.context_tokens + info.n_steps + 1, bos);
  Contexts contexts;
  for (const SegmentInfo& segment : Segments(info, plan_.copy)) {
    ARKVALE_RETURN_IF_ERROR(RunSegment(segment, ids, totals_[window.context], contexts));
    ++runs_done_;
  }
  const auto work = static_cast<double>(info.context_tokens);
  work_left_ -= work;
  if (contexts.dense) {
    work_done_ += work;
    seconds_ += MsSince(start_ns) / 1000;
  }
  return OkStatus();
}

// `ids`: of the window.
Status FidelityTask::RunSegment(const SegmentInfo& segment, std::span<const int32_t> ids,
                                std::vector<CellTotals>& totals, Contexts& contexts) {
  std::vector<const Json*> earlier;
  std::vector<size_t> missing;
  for (size_t c = 0; c < plan_.cells.size(); ++c) {
    earlier.push_back(FindFidelityRecord(log_, FidelityLabels(cells_, c, segment), segment));
    if (earlier.back() == nullptr) missing.push_back(c);
  }
  std::vector<Json> records;
  if (!missing.empty()) {
    if (!contexts.dense) ARKVALE_RETURN_IF_ERROR(Prefill(ids.first(segment.context_tokens), contexts));
    ARKVALE_ASSIGN_OR_RETURN(records, Measure(segment, StepIds(ids, segment), missing, contexts));
  }
  auto next = records.begin();
  for (size_t c = 0; c < plan_.cells.size(); ++c) {
    const Json& record = earlier[c] != nullptr ? *earlier[c] : *next++;
    ARKVALE_RETURN_IF_ERROR(earlier[c] != nullptr ? log_.Repeat(record) : log_.Write(record));
    ARKVALE_RETURN_IF_ERROR(Take(record, totals[c]));
  }
  return OkStatus();
}

// The records of the cells `missing`. Dense attention runs in any case, as what they are compared with, and the floor
// beside it.
Result<std::vector<Json>> FidelityTask::Measure(const SegmentInfo& segment, std::span<const int32_t> ids,
                                                const std::vector<size_t>& missing, const Contexts& contexts) {
  std::vector<KvOptions> cells = {plan_.cells[kDenseCell], plan_.floor};
  for (const size_t c : missing) {
    if (c != kDenseCell) cells.push_back(plan_.cells[c]);
  }
  int64_t step = 0;
  const auto before_step = [&] {
    Show("steps", step++, segment.n_steps, "steps");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  };
  ARKVALE_ASSIGN_OR_RETURN(const auto runs, RunLockstep(contexts.reference, contexts.base, ids, cells, before_step));
  progress_.Clear();
  std::vector<Json> records;
  auto next = runs.begin() + kFloorCell + 1;
  for (const size_t c : missing) {
    const bool dense = c == kDenseCell;
    records.push_back(FidelityRecord(FidelityLabels(cells_, c, segment), segment, dense ? runs[kDenseCell] : *next++,
                                     dense ? &runs[kFloorCell] : nullptr));
  }
  return records;
}

Status FidelityTask::Prefill(std::span<const int32_t> ids, Contexts& contexts) {
  ARKVALE_ASSIGN_OR_RETURN(contexts.dense, Prefill(reference_, ids));
  contexts.reference = {&reference_, &*contexts.dense};
  contexts.base = contexts.reference;
  if (&runtime_ == &reference_) return OkStatus();
  ARKVALE_ASSIGN_OR_RETURN(contexts.typed, Prefill(runtime_, ids));
  contexts.base = {&runtime_, &*contexts.typed};
  return OkStatus();
}

Result<Session> FidelityTask::Prefill(Runtime& runtime, std::span<const int32_t> ids) {
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime, BaseOptions(plan_.cells)));
  ARKVALE_RETURN_IF_ERROR(session.Prefill(ids, true, [&](int64_t done) {
    Show("prefill", done, static_cast<int64_t>(ids.size()), "tokens");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  }));
  return session;
}

// A record, new or of an earlier run, into the summary.
Status FidelityTask::Take(const Json& record, CellTotals& totals) {
  ARKVALE_ASSIGN_OR_RETURN(const SegmentRun run, ReadFidelityRecord(record));
  totals.Add(run);
  return steps_file_ != nullptr ? steps_file_->Write(StepLines(record)) : OkStatus();
}

void FidelityTask::Show(const std::string& what, int64_t done, int64_t total, const std::string& unit) {
  const std::string left = TimeLeft(seconds_, work_done_, work_left_);
  progress_.Show(what + ", run " + std::to_string(runs_done_ + 1) + "/" + std::to_string(plan_.runs()), done, total,
                 unit + (left.empty() ? "" : ", " + left));
}

Status Run(const FidelityFlags& flags) {
  ARKVALE_RETURN_IF_ERROR(flags.Check());
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const FidelityPlan plan, MakeFidelityPlan(flags, *runtime));
  std::unique_ptr<Runtime> other;  // the reference, where the cells do not keep f16
  if (options.kv_type != KvType::kF16) {
    EngineOptions f16 = options;
    f16.kv_type = KvType::kF16;
    ARKVALE_ASSIGN_OR_RETURN(other, Runtime::Load(f16));
  }
  Runtime& reference = other == nullptr ? *runtime : *other;
  FidelityCells cells{.run = {}, .floor = plan.floor, .options = plan.cells};
  ARKVALE_ASSIGN_OR_RETURN(cells.run, RunInfo::Make("fidelity", options, flags.eval.kv_opt(), runtime->threads()));
  cells.run.plans = plan.kv_plans;
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), true));
  return FidelityTask(flags, plan, reference, *runtime, std::move(cells), *log).Run();
}

}  // namespace

int RunFidelity(int argc, char** argv) {
  Cli cli("eval fidelity",
          "Feeds the true text step by step under dense attention and every cell, and compares the predictions.");
  FidelityFlags flags;
  flags.Add(cli);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
