#include "tools/bench/own_engine.h"

#include <algorithm>

#include "base/clock.h"
#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

constexpr double kMsPerNs = 1e-6;

// Forks take any other policy from it, and it never evicts.
KvOptions DenseOptions() {
  KvOptions options;
  options.policy = KvPolicyKind::kFull;
  return options;
}

Status Interrupted(int64_t /*done_tokens*/) { return g_cancel ? Cancelled("interrupted") : OkStatus(); }

}  // namespace

Status OwnContext::Set(std::span<const int32_t> ids) {
  const bool extends = session_ && ids.size() >= ids_.size() && std::equal(ids_.begin(), ids_.end(), ids.begin());
  if (!extends) {
    ids_.clear();
    session_.reset();
    ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime_, DenseOptions()));
    session_ = std::move(session);
  }
  const auto added = ids.subspan(ids_.size());
  if (added.empty()) return OkStatus();
  ARKVALE_RETURN_IF_ERROR(session_->Prefill(added, false, Interrupted));
  ids_.assign(ids.begin(), ids.end());
  return OkStatus();
}

std::string OwnContender::name() const {
  return "arkvale " + (options_.policy == KvPolicyKind::kFull ? "full" : std::to_string(options_.budget_tokens));
}

Json OwnContender::Labels() const {
  const bool full = options_.policy == KvPolicyKind::kFull;
  return {{"engine", "arkvale"},
          {"policy", KvPolicyName(options_.policy)},
          {"budget_tokens", full ? Json(nullptr) : Json(options_.budget_tokens)}};
}

Result<DecodeSample> OwnContender::Decode(std::span<const int32_t> ids) {
  ARKVALE_ASSIGN_OR_RETURN(Session session, context_.Fork(options_));
  const KvCache& cache = context_.runtime().cache();
  DecodeSample sample;
  for (const int32_t id : ids) {
    if (g_cancel) return Cancelled("interrupted");
    const KvTimings before = cache.timings();
    const int64_t start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(session.Step(id));
    const double ms = MsSince(start_ns);
    const auto logits = session.logits();
    sample.likeliest_ids.push_back(
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    if (sample.likeliest_ids.size() == 1) continue;
    sample.step_ms.push_back(ms);
    AddTimings(before, cache.timings(), ms);
  }
  ARKVALE_ASSIGN_OR_RETURN(stats_, session.stats());
  return sample;
}

Result<double> OwnContender::Prefill(std::span<const int32_t> ids) {
  const int64_t start_ns = NowNs();
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(context_.runtime(), options_));
  ARKVALE_RETURN_IF_ERROR(session.Prefill(ids, true, Interrupted));
  const double ms = MsSince(start_ns);
  ARKVALE_ASSIGN_OR_RETURN(stats_, session.stats());
  return ms;
}

void OwnContender::SetWarmUp(bool /*on*/) {
  timings_ = {};
  steps_ms_ = 0;
  n_steps_ = 0;
}

void OwnContender::AddTimings(const KvTimings& before, const KvTimings& after, double step_ms) {
  timings_.estimate_ns += after.estimate_ns - before.estimate_ns;
  timings_.select_ns += after.select_ns - before.select_ns;
  timings_.recall_ns += after.recall_ns - before.recall_ns;
  timings_.attention_ns += after.attention_ns - before.attention_ns;
  steps_ms_ += step_ms;
  ++n_steps_;
}

Json OwnContender::DecodeFields(double step_ms_median) const {
  const auto mean_ms = [&](int64_t ns) { return static_cast<double>(ns) * kMsPerNs / static_cast<double>(n_steps_); };
  const double estimate = mean_ms(timings_.estimate_ns), select = mean_ms(timings_.select_ns);
  const double recall = mean_ms(timings_.recall_ns), attention = mean_ms(timings_.attention_ns);
  const double other = steps_ms_ / static_cast<double>(n_steps_) - estimate - select - recall - attention;
  // Every hot page is attended to in a step (attend = resident), and every digest is scored.
  const int64_t step_bytes = context_.runtime().transformer().step_bytes() + stats_.hot_bytes + stats_.digest_bytes;
  return {
      {"kv_total_bytes", stats_.total_bytes},
      {"breakdown_ms",
       {{"estimate", estimate}, {"select", select}, {"recall", recall}, {"attention", attention}, {"other", other}}},
      {"kv_hot_bytes", stats_.hot_bytes_peak},
      {"digest_bytes", stats_.digest_bytes},
      {"gb_per_s", static_cast<double>(step_bytes) / (step_ms_median * 1e6)}};
}

Json OwnContender::PrefillFields() const {
  return {{"kv_total_bytes", stats_.total_bytes},
          {"kv_hot_bytes", stats_.hot_bytes_peak},
          {"digest_bytes", stats_.digest_bytes}};
}

}  // namespace arkvale::tools
