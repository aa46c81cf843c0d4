#include "tools/bench/own_engine.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/clock.h"
#include "base/rng.h"
#include "tools/common/interrupt.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {
namespace {

constexpr double kMsPerNs = 1e-6;

// Forks take any other policy from it, and it never evicts.
KvOptions DenseOptions() {
  KvOptions options;
  options.policy = KvPolicyKind::kFull;
  options.collect.last_queries = options.snap_window;  // what snapkv, pyramidkv and xkv judge by
  return options;
}

Status Interrupted(int64_t /*done_tokens*/) { return g_cancel ? Cancelled("interrupted") : OkStatus(); }

// Rows cut at random places from a table of unit normals: drawing each value would take longer than storing it.
class RandomRows {
 public:
  explicit RandomRows(std::string_view name) : rng_(name), table_(kTableSize) {
    for (size_t i = 0; i < kTableSize; i += 2) {
      const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(rng_.Uniform(0, 1))));
      const double angle = 2 * std::numbers::pi * static_cast<double>(rng_.Uniform(0, 1));
      table_[i] = static_cast<float>(radius * std::cos(angle));
      table_[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
  void Fill(const MatrixView& m) {
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t done = 0; done < m.cols; done += kPiece) {
        const int64_t n = std::min(kPiece, m.cols - done);
        std::copy_n(table_.begin() + static_cast<int64_t>(rng_.Below(kTableSize - kPiece)), n, m.row(r) + done);
      }
    }
  }

 private:
  static constexpr size_t kTableSize = size_t{1} << 16;
  static constexpr int64_t kPiece = 1024;
  Rng rng_;
  std::vector<float> table_;
};

Breakdown Parts(const KvTimings& before, const KvTimings& after, double step_ms) {
  const auto ms = [](int64_t from, int64_t to) { return static_cast<double>(to - from) * kMsPerNs; };
  Breakdown parts{.estimate_ms = ms(before.estimate_ns, after.estimate_ns),
                  .select_ms = ms(before.select_ns, after.select_ns),
                  .recall_ms = ms(before.recall_ns, after.recall_ns),
                  .attention_ms = ms(before.attention_ns, after.attention_ns),
                  .step_ms = step_ms};
  parts.other_ms = step_ms - parts.estimate_ms - parts.select_ms - parts.recall_ms - parts.attention_ms;
  return parts;
}

// The mean over the middle half of the steps by their time: whole steps, so that the parts still make up the sum, and
// as little moved by a stray interrupt as a median.
Breakdown MiddleMean(std::vector<Breakdown> steps) {
  std::sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.step_ms < b.step_ms; });
  const size_t begin = steps.size() / 4, end = std::max(begin + 1, steps.size() - steps.size() / 4);
  Breakdown mean;
  for (size_t i = begin; i < end; ++i) {
    for (double Breakdown::*part : {&Breakdown::estimate_ms, &Breakdown::select_ms, &Breakdown::recall_ms,
                                    &Breakdown::attention_ms, &Breakdown::other_ms, &Breakdown::step_ms}) {
      mean.*part += steps[i].*part / static_cast<double>(end - begin);
    }
  }
  return mean;
}

}  // namespace

Status OwnContext::Append(std::span<const int32_t> ids) {
  if (fill_ == Fill::kText) return session_->Prefill(ids, false, Interrupted);
  RandomRows rows("bench/fill/" + std::to_string(ids_.size()));
  constexpr size_t kPieceTokens = 4096;
  // The last token is computed: forks need its query to choose their pages.
  for (auto rest = ids.first(ids.size() - 1); !rest.empty();) {
    const auto now = rest.first(std::min(rest.size(), kPieceTokens));
    ARKVALE_RETURN_IF_ERROR(session_->Inject(now, [&](int32_t /*layer*/, const MatrixView& k, const MatrixView& v) {
      rows.Fill(k);
      rows.Fill(v);
    }));
    ARKVALE_RETURN_IF_ERROR(Interrupted(0));
    rest = rest.subspan(now.size());
  }
  return session_->Prefill(ids.last(1), false);
}

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
  ARKVALE_RETURN_IF_ERROR(Append(added));
  ids_.assign(ids.begin(), ids.end());
  return OkStatus();
}

std::string OwnContender::name() const {
  if (options_.policy == KvPolicyKind::kFull) return kFullName;
  const bool own = options_.policy == KvPolicyKind::kArkvale;
  return (own ? "arkvale" : "arkvale " + std::string(KvPolicyName(options_.policy))) + " " +
         (plan_name_.empty() ? std::to_string(options_.budget_tokens) : plan_name_);
}

Json OwnContender::Labels() const {
  const bool full = options_.policy == KvPolicyKind::kFull;
  return {{"engine", "arkvale"},
          {"policy", KvPolicyName(options_.policy)},
          {"budget_tokens", full ? Json(nullptr) : Json(MeanBudgetTokens(options_))},
          {"plan", plan_name_.empty() ? Json(nullptr) : Json(plan_name_)},
          {"fill", context_.fill() == Fill::kText ? "text" : "random"},
          {"kv_type", KvTypeName(context_.runtime().kv_type())}};
}

Result<std::vector<Session>> OwnContender::Forks(int32_t batch) const {
  std::vector<Session> forks;
  ARKVALE_ASSIGN_OR_RETURN(Session first, context_.Fork(options_));
  forks.push_back(std::move(first));
  while (static_cast<int32_t>(forks.size()) < batch) {
    ARKVALE_ASSIGN_OR_RETURN(Session fork, forks[0].Fork(options_));
    forks.push_back(std::move(fork));
  }
  return forks;
}

Result<DecodeSample> OwnContender::Run(std::span<const int32_t> ids, int32_t batch, std::vector<Breakdown>* parts) {
  ARKVALE_ASSIGN_OR_RETURN(std::vector<Session> forks, Forks(batch));
  std::vector<Session*> sessions;
  for (Session& fork : forks) sessions.push_back(&fork);
  std::vector<int32_t> step_ids(sessions.size());
  std::vector<float> logits;
  const KvCache& cache = context_.runtime().cache();
  DecodeSample sample;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (g_cancel) return Cancelled("interrupted");
    for (int32_t s = 0; s < batch; ++s) step_ids[static_cast<size_t>(s)] = StepId(ids, i, s);
    const KvTimings before = cache.timings();
    const int64_t start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(Session::StepTogether(sessions, step_ids, logits));
    const double ms = MsSince(start_ns);
    const auto first = logits.begin(), end = first + context_.runtime().info().n_vocab;
    sample.likeliest_ids.push_back(static_cast<int32_t>(std::max_element(first, end) - first));
    if (i == 0) continue;
    sample.step_ms.push_back(ms);
    if (parts != nullptr) parts->push_back(Parts(before, cache.timings(), ms));
  }
  ARKVALE_ASSIGN_OR_RETURN(stats_, forks[0].stats());
  return sample;
}

Result<DecodeSample> OwnContender::Decode(std::span<const int32_t> ids, int32_t batch) {
  return Run(ids, batch, nullptr);
}

Result<std::optional<Breakdown>> OwnContender::DecodeParts(std::span<const int32_t> ids, int32_t batch) {
  std::vector<Breakdown> parts;
  ARKVALE_ASSIGN_OR_RETURN(const DecodeSample sample, Run(ids, batch, &parts));
  return std::optional(MiddleMean(std::move(parts)));
}

Result<double> OwnContender::Prefill(std::span<const int32_t> ids) {
  const int64_t start_ns = NowNs();
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(context_.runtime(), options_));
  ARKVALE_RETURN_IF_ERROR(session.Prefill(ids, true, Interrupted));
  const double ms = MsSince(start_ns);
  ARKVALE_ASSIGN_OR_RETURN(stats_, session.stats());
  return ms;
}

// Every hot page is attended to in a step and every digest scored, but by what attends to less or more.
int64_t OwnContender::StepBytes(int32_t batch) const {
  if (options_.policy == KvPolicyKind::kQuest || options_.attend != AttendKind::kResident) return 0;
  return context_.runtime().transformer().step_bytes() + batch * stats_.step_bytes;
}

// K and V are those of all sequences; forks share what they have in common, which counts for each.
Json OwnContender::DecodeFields(int32_t batch) const {
  return {{"kv_total_bytes", batch * stats_.total_bytes},
          {"kv_hot_bytes", batch * stats_.hot_bytes_peak},
          {"digest_bytes", batch * stats_.digest_bytes}};
}

Json OwnContender::PrefillFields() const { return DecodeFields(1); }

}  // namespace arkvale::tools
