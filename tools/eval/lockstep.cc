#include "tools/eval/lockstep.h"

#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace arkvale::tools {
namespace {

void AddDifference(const KvTimings& before, const KvTimings& after, KvTimings& sum) {
  sum.estimate_ns += after.estimate_ns - before.estimate_ns;
  sum.select_ns += after.select_ns - before.select_ns;
  sum.recall_ns += after.recall_ns - before.recall_ns;
  sum.attention_ns += after.attention_ns - before.attention_ns;
  sum.append_ns += after.append_ns - before.append_ns;
  sum.audit_ns += after.audit_ns - before.audit_ns;
}

Status TimedStep(KvCache& cache, Session& session, int32_t id, CellRun& run) {
  const KvTimings before = cache.timings();
  const int64_t start_ns = NowNs();
  ARKVALE_RETURN_IF_ERROR(session.Step(id));
  const double ms = MsSince(start_ns);
  const KvTimings after = cache.timings();
  run.step_ms.push_back(ms - static_cast<double>(after.audit_ns - before.audit_ns) * 1e-6);
  AddDifference(before, after, run.spent);
  return OkStatus();
}

void Compare(const DenseStep& dense, std::span<const float> logits, int32_t next_id, CellRun& run) {
  const auto step = dense.Compare(logits, next_id);
  if (step.ok()) {
    run.steps.push_back(*step);
  } else {
    run.error = step.status().message();
    run.steps.clear();
  }
}

}  // namespace

KvOptions DenseOptions() {
  KvOptions options;
  options.policy = KvPolicyKind::kFull;
  return options;
}

KvOptions BaseOptions(std::span<const KvOptions> cells) {
  KvOptions base = DenseOptions();
  for (const KvOptions& cell : cells) {
    if (cell.policy == KvPolicyKind::kH2o && cell.h2o_init == H2oInit::kFull) base.collect.column_sums = true;
    if (JudgesByWindow(cell.policy)) {
      base.collect.last_queries = std::max(base.collect.last_queries, cell.snap_window);
    }
  }
  return base;
}

KvOptions FloorOptions(const KvOptions& like) {
  KvOptions options;
  options.sink_pages = like.sink_pages;
  options.window_pages = like.window_pages;
  options.dense_layers = like.dense_layers;
  options.page_tokens = like.page_tokens;
  options.budget_tokens = int64_t{like.sink_pages + like.window_pages + 1} * like.page_tokens;
  options.attend = AttendKind::kAll;
  return options;
}

int64_t WindowStart(int64_t w, int64_t n_windows, int64_t n_text, int64_t n_ids) {
  return n_windows == 1 ? 0 : w * (n_text - n_ids) / (n_windows - 1);
}

Result<std::vector<CellRun>> RunLockstep(const PrefilledContext& reference, const PrefilledContext& base,
                                         std::span<const int32_t> ids, std::span<const KvOptions> cells,
                                         const std::function<Status()>& before_step) {
  const auto context = [&](size_t c) -> const PrefilledContext& { return c <= kFloorCell ? reference : base; };
  ARKVALE_CHECK(!cells.empty() && cells[0].policy == KvPolicyKind::kFull);
  DenseStep dense;
  ARKVALE_RETURN_IF_ERROR(dense.Set(reference.session->logits()));
  std::vector<CellRun> runs(cells.size());
  std::vector<Session> sessions;
  for (size_t c = 0; c < cells.size(); ++c) {
    ARKVALE_ASSIGN_OR_RETURN(Session fork, context(c).session->Fork(cells[c]));
    ARKVALE_ASSIGN_OR_RETURN(runs[c].prefill_kl, dense.Kl(fork.logits()));
    sessions.push_back(std::move(fork));
  }
  for (size_t j = 0; j + 1 < ids.size(); ++j) {
    ARKVALE_RETURN_IF_ERROR(before_step());
    for (size_t c = 0; c < cells.size(); ++c) {
      if (!runs[c].error.empty()) continue;
      ARKVALE_RETURN_IF_ERROR(TimedStep(context(c).runtime->cache(), sessions[c], ids[j], runs[c]));
      if (c == 0) ARKVALE_RETURN_IF_ERROR(dense.Set(sessions[0].logits()));
      Compare(dense, sessions[c].logits(), ids[j + 1], runs[c]);
    }
  }
  for (size_t c = 0; c < cells.size(); ++c) {
    ARKVALE_ASSIGN_OR_RETURN(runs[c].stats, sessions[c].stats());
  }
  return runs;
}

}  // namespace arkvale::tools
