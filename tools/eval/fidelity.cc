// arkvale eval fidelity (evaluation protocol 4).
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/common/interrupt.h"
#include "tools/common/progress.h"
#include "tools/common/text_input.h"
#include "tools/eval/eval_flags.h"
#include "tools/eval/fidelity_report.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kCopySteps = 128;

struct Flags {
  EvalFlags eval;
  std::string texts, contexts, steps_out;
  int64_t steps = 0, windows = 0;
  bool copy = false;
};

// The flags and the preset, understood.
struct Plan {
  std::vector<std::string> texts;
  std::vector<int64_t> contexts;
  int64_t steps = 0, windows = 0;
  bool copy = false;
  std::vector<KvOptions> cells;  // dense, floor, dense in another KV type if there is one, then the user's

  int64_t fed() const { return std::max(steps, copy ? kCopySteps : 0); }
  int64_t runs() const { return static_cast<int64_t>(texts.size() * contexts.size()) * windows * (copy ? 3 : 1); }
};

void AddFlags(Cli& cli, Flags& flags) {
  auto& app = cli.app();
  const std::string group = "Windows";
  const auto add = [&](const char* name, auto& value, const char* type, const char* text, const char* shown) {
    return app.add_option(name, value, text)->type_name(type)->default_str(shown)->group(group);
  };
  cli.Require(add("--text", flags.texts, "FILE,...", "UTF-8 texts; --preset quick uses the first one", ""));
  add("--context", flags.contexts, "N,...", "tokens prefilled before the steps, each a cell", "the preset's");
  add("--steps", flags.steps, "M", "steps compared in each window", "the preset's");
  add("--windows", flags.windows, "W", "windows of each text, spread from its start to its end", "the preset's");
  app.add_flag("--copy", flags.copy, "beside each window, two runs that repeat a passage of its own context")
      ->group(group);
  add("--steps-out", flags.steps_out, "FILE", "JSON lines, one per step", "none");
  flags.eval.Add(cli);
}

// Sizes of evaluation protocol 0.7.
Status ApplyPreset(const Flags& flags, Preset preset, int64_t ctx_tokens, Plan& plan) {
  const bool quick = preset == Preset::kQuick;
  plan.texts = SplitCommas(flags.texts);
  if (quick) plan.texts.resize(1);
  plan.windows = flags.windows > 0 ? flags.windows : quick ? 2 : 8;
  plan.steps = flags.steps > 0 ? flags.steps : quick ? 64 : 512;
  const bool large = ctx_tokens > 8192;
  plan.contexts = {quick ? 2048 : large ? 16384 : 7168};
  if (preset == Preset::kFull) {
    plan.contexts = {1024, 2048, 4096, 7168};
    if (large) plan.contexts.push_back(16384);
  }
  if (!flags.contexts.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(plan.contexts, ParseNumbers("--context", flags.contexts, 1));
  }
  return OkStatus();
}

Status Check(const Plan& plan, int64_t ctx_tokens) {
  if (plan.windows < 1) return InvalidArgument("--windows " + std::to_string(plan.windows) + ": use 1 or more");
  for (const int64_t n : plan.contexts) {
    if (n + plan.fed() > ctx_tokens) {
      return InvalidArgument("context " + std::to_string(n) + " + " + std::to_string(plan.fed()) + " steps > limit " +
                             std::to_string(ctx_tokens) + ": use a smaller --context or --steps");
    }
    if (plan.copy && n < 2 * kCopySteps) {
      return InvalidArgument("--context " + std::to_string(n) + " < " + std::to_string(2 * kCopySteps) +
                             ", what --copy needs: use a larger one");
    }
  }
  return OkStatus();
}

Result<Plan> MakePlan(const Flags& flags, const Runtime& runtime) {
  if (flags.steps < 0) return InvalidArgument("--steps " + std::to_string(flags.steps) + ": use 1 or more");
  if (flags.windows < 0) return InvalidArgument("--windows " + std::to_string(flags.windows) + ": use 1 or more");
  ARKVALE_ASSIGN_OR_RETURN(const Preset preset, flags.eval.preset());
  Plan plan;
  plan.copy = flags.copy;
  ARKVALE_RETURN_IF_ERROR(ApplyPreset(flags, preset, runtime.ctx_tokens(), plan));
  ARKVALE_RETURN_IF_ERROR(Check(plan, runtime.ctx_tokens()));
  ARKVALE_ASSIGN_OR_RETURN(const auto cells,
                           flags.eval.Cells(PresetCells(preset, runtime.ctx_tokens()), runtime.info()));
  plan.cells = {DenseOptions(), FloorOptions(cells.empty() ? KvOptions() : cells.front())};
  if (runtime.kv_type() != KvType::kF16) plan.cells.push_back(DenseOptions());
  plan.cells.insert(plan.cells.end(), cells.begin(), cells.end());
  return plan;
}

// One run of the command: what all windows share.
class FidelityTask {
 public:
  // `reference` keeps f16; it is `runtime` where that does too.
  FidelityTask(const Flags& flags, const Plan& plan, Runtime& reference, Runtime& runtime, RunInfo info, RecordLog& log)
      : flags_(flags),
        plan_(plan),
        reference_(reference),
        runtime_(runtime),
        info_(std::move(info)),
        log_(log),
        progress_(flags.eval.quiet()) {}

  Status Run();

 private:
  Status RunText(const std::string& path);
  Status RunWindow(const SegmentInfo& window, std::span<const int32_t> ids, std::vector<CellTotals>& totals);
  Result<Session> Prefill(Runtime& runtime, std::span<const int32_t> ids);
  Status RunSegment(const PrefilledContext& reference, const PrefilledContext& base, const SegmentInfo& segment,
                    std::span<const int32_t> ids, std::vector<CellTotals>& totals);

  const Flags& flags_;
  const Plan& plan_;
  Runtime& reference_;
  Runtime& runtime_;
  RunInfo info_;
  RecordLog& log_;
  Progress progress_;
  std::unique_ptr<TextFile> steps_file_;
  std::vector<std::vector<CellTotals>> totals_;  // by context length, then cell
  int64_t runs_done_ = 0;
};

Status FidelityTask::Run() {
  if (!flags_.steps_out.empty()) {
    ARKVALE_ASSIGN_OR_RETURN(steps_file_, TextFile::Open(flags_.steps_out, false));
  }
  for (const int64_t n : plan_.contexts) {
    auto& cells = totals_.emplace_back();
    for (const KvOptions& options : plan_.cells) cells.emplace_back(options, n);
  }
  for (const std::string& path : plan_.texts) ARKVALE_RETURN_IF_ERROR(RunText(path));
  progress_.Clear();
  const Json summary = FidelitySummaryJson(info_, totals_);
  return log_.Finish(summary, FidelityTable(summary));
}

Status FidelityTask::RunText(const std::string& path) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(path, runtime_.info().context_tokens));
  const Tokenizer& tokenizer = runtime_.tokenizer();
  ARKVALE_ASSIGN_OR_RETURN(const auto all, tokenizer.Encode(text, false, false));
  const auto n_text = static_cast<int64_t>(all.size());
  for (size_t i = 0; i < plan_.contexts.size(); ++i) {
    const int64_t n_ids = plan_.contexts[i] + plan_.steps + 1;
    if (n_text < n_ids) {
      return InvalidArgument("--text " + path + ": " + std::to_string(n_text) + " tokens < context + steps + 1 = " +
                             std::to_string(n_ids) + ": use a longer text or a smaller --context");
    }
    for (int64_t w = 0; w < plan_.windows; ++w) {
      const SegmentInfo window{.text = std::filesystem::path(path).filename().string(),
                               .window = w,
                               .start_token = WindowStart(w, plan_.windows, n_text, n_ids),
                               .context_tokens = plan_.contexts[i]};
      std::vector<int32_t> ids(all.begin() + window.start_token, all.begin() + window.start_token + n_ids);
      if (tokenizer.add_bos()) ids[0] = tokenizer.bos();
      ARKVALE_RETURN_IF_ERROR(RunWindow(window, ids, totals_[i]));
    }
  }
  return OkStatus();
}

Result<Session> FidelityTask::Prefill(Runtime& runtime, std::span<const int32_t> ids) {
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime, BaseOptions(plan_.cells)));
  ARKVALE_RETURN_IF_ERROR(session.Prefill(ids, true, [&](int64_t done) {
    progress_.Show("prefill, run " + std::to_string(runs_done_ + 1) + "/" + std::to_string(plan_.runs()), done,
                   static_cast<int64_t>(ids.size()), "tokens");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  }));
  return session;
}

Status FidelityTask::RunWindow(const SegmentInfo& window, std::span<const int32_t> ids,
                               std::vector<CellTotals>& totals) {
  const int64_t n = window.context_tokens;
  ARKVALE_ASSIGN_OR_RETURN(const Session dense, Prefill(reference_, ids.first(n)));
  const PrefilledContext reference{&reference_, &dense};
  std::optional<Session> typed;
  PrefilledContext base = reference;
  if (&runtime_ != &reference_) {
    ARKVALE_ASSIGN_OR_RETURN(typed, Prefill(runtime_, ids.first(n)));
    base = {&runtime_, &*typed};
  }
  ARKVALE_RETURN_IF_ERROR(RunSegment(reference, base, window, ids.subspan(n), totals));
  if (!plan_.copy) return OkStatus();
  for (const int64_t start : {n / 4, n / 2}) {
    SegmentInfo copy = window;
    copy.copy_start = start;
    ARKVALE_RETURN_IF_ERROR(RunSegment(reference, base, copy, ids.subspan(start, kCopySteps + 1), totals));
  }
  return OkStatus();
}

Status FidelityTask::RunSegment(const PrefilledContext& reference, const PrefilledContext& base,
                                const SegmentInfo& segment, std::span<const int32_t> ids,
                                std::vector<CellTotals>& totals) {
  int64_t step = 0;
  const auto n_steps = static_cast<int64_t>(ids.size()) - 1;
  const auto before_step = [&] {
    progress_.Show("steps, run " + std::to_string(runs_done_ + 1) + "/" + std::to_string(plan_.runs()), step++, n_steps,
                   "steps");
    return g_cancel ? Cancelled("interrupted") : OkStatus();
  };
  ARKVALE_ASSIGN_OR_RETURN(const auto runs, RunLockstep(reference, base, ids, plan_.cells, before_step));
  progress_.Clear();
  for (size_t c = 0; c < runs.size(); ++c) {
    const KvOptions& options = plan_.cells[c];
    totals[c].Add(segment, runs[c]);
    if (c == kFloorCell) continue;  // a figure of the summary
    ARKVALE_RETURN_IF_ERROR(log_.Write(WindowRecord(CellInfo(info_, c), segment, options, runs[c])));
    if (steps_file_ != nullptr) {
      ARKVALE_RETURN_IF_ERROR(steps_file_->Write(StepLines(CellInfo(info_, c), segment, options, runs[c])));
    }
  }
  ++runs_done_;
  return OkStatus();
}

Status Run(const Flags& flags) {
  ARKVALE_ASSIGN_OR_RETURN(const EngineOptions options, flags.eval.engine());
  ARKVALE_ASSIGN_OR_RETURN(const auto runtime, Runtime::Load(options));
  ARKVALE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(flags, *runtime));
  std::unique_ptr<Runtime> other;  // the reference, where the cells do not keep f16
  if (options.kv_type != KvType::kF16) {
    EngineOptions f16 = options;
    f16.kv_type = KvType::kF16;
    ARKVALE_ASSIGN_OR_RETURN(other, Runtime::Load(f16));
  }
  Runtime& reference = other == nullptr ? *runtime : *other;
  ARKVALE_ASSIGN_OR_RETURN(RunInfo info, RunInfo::Make("fidelity", options, flags.eval.kv_opt(), runtime->threads()));
  ARKVALE_ASSIGN_OR_RETURN(const auto log, RecordLog::Open(flags.eval.out(), flags.eval.json(), false));
  return FidelityTask(flags, plan, reference, *runtime, std::move(info), *log).Run();
}

}  // namespace

int RunFidelity(int argc, char** argv) {
  Cli cli("eval fidelity",
          "Feeds the true text step by step under dense attention and every cell, and compares the predictions.");
  Flags flags;
  AddFlags(cli, flags);
  return cli.Run(argc, argv, [&] { return Run(flags); });
}

}  // namespace arkvale::tools
