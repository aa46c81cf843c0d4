#include "kv/select.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/score_weights.h"

namespace arkvale {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

ScoreWeights WeighPages(const CombineInput& in, const float* estimates, int32_t begin, int32_t end,
                        std::span<float> weights) {
  const size_t n = std::max(end - begin, 0);
  return WeighScores({estimates + begin, n}, in.scale, in.softcap, weights.subspan(begin, n));
}

void AddSoftmax(const CombineInput& in, const float* estimates, std::span<float> out, std::span<float> weights) {
  const auto n = static_cast<int32_t>(out.size());
  const ScoreWeights head = WeighPages(in, estimates, 0, n, weights);
  if (head.top == -kInfinity) return;
  const auto inverse = static_cast<float>(1.0 / head.sum);
  for (int32_t i = 0; i < n; ++i) out[i] += weights[i] * inverse;
}

// Log of the share that the best candidate has of the head's attention: of sum + exp(pinned - top), whichever of the
// two terms is the larger.
double LogShare(const ScoreWeights& head, float pinned_lse) {
  if (head.top == -kInfinity) return -std::numeric_limits<double>::infinity();
  const double candidates = std::log(head.sum), pinned = double{pinned_lse} - head.top;
  if (std::isnan(pinned) || pinned == -kInfinity) return -candidates;
  return -(std::max(candidates, pinned) + std::log1p(std::exp(-std::abs(candidates - pinned))));
}

// One pass over the heads: votes so far are scaled down when a head with a larger share comes.
void CombinePinned(const CombineInput& in, std::span<float> out, std::span<float> weights) {
  const auto n = static_cast<int64_t>(out.size());
  double best = -std::numeric_limits<double>::infinity();
  for (int32_t h = 0; h < in.n_heads; ++h) {
    const ScoreWeights head = WeighPages(in, in.head_scores.data() + h * n, in.begin, in.end, weights);
    const double log_share = LogShare(head, in.pinned_lse[h]);
    if (log_share == -std::numeric_limits<double>::infinity()) continue;
    if (log_share > best) {
      const auto scale = static_cast<float>(std::exp(best - log_share));
      for (int32_t i = in.begin; i < in.end; ++i) out[i] *= scale;
      best = log_share;
    }
    const auto share = static_cast<float>(std::exp(log_share - best));
    for (int32_t i = in.begin; i < in.end; ++i) out[i] += share * weights[i];
  }
}

}  // namespace

PageBudget MakePageBudget(const KvOptions& o, int32_t layer, bool reads_in_place) {
  if (o.policy == KvPolicyKind::kFull || layer < o.dense_layers) return {};
  int64_t c = o.budget_tokens;
  if (!o.layer_budget_tokens.empty() && o.layer_budget_tokens[layer] > 0) c = o.layer_budget_tokens[layer];
  if (c == 0) return {};
  const auto pages = static_cast<int32_t>(std::min<int64_t>(c / o.page_tokens, std::numeric_limits<int32_t>::max()));
  if (o.policy == KvPolicyKind::kQuest) {
    PageBudget b{.pages = std::max(kQuestLeastPages, pages), .window = 1, .evicts = false};
    b.topk = b.places();
    return b;
  }
  PageBudget b{.pages = pages, .sinks = o.sink_pages, .window = o.window_pages};
  TopkRule rule = o.topk;
  if (!o.layer_topk_pages.empty() && o.layer_topk_pages[layer] > 0) {
    rule = {TopkRule::Kind::kPages, o.layer_topk_pages[layer]};
  }
  if (rule.kind == TopkRule::Kind::kAuto && reads_in_place) {
    b.topk = b.places();
    return b;
  }
  const int64_t nominal = rule.kind == TopkRule::Kind::kPages ? rule.pages : PaperTopk(c, o.page_tokens);
  b.topk = static_cast<int32_t>(std::clamp<int64_t>(nominal - b.sinks - (b.window - 1), 1, b.places()));
  return b;
}

void CombineScores(const CombineInput& in, std::span<float> out, std::span<float> scratch) {
  const size_t n = out.size();
  std::fill(out.begin(), out.end(), in.kind == CombineKind::kMax ? -kInfinity : 0.0f);
  if (in.kind == CombineKind::kSoftmaxPinned) {
    CombinePinned(in, out, scratch);
  } else {
    for (int32_t h = 0; h < in.n_heads; ++h) {
      const float* s = in.head_scores.data() + static_cast<size_t>(h) * n;
      if (in.kind == CombineKind::kMax) {
        for (size_t i = 0; i < n; ++i) out[i] = std::max(out[i], s[i]);
      } else if (in.kind == CombineKind::kMean) {
        for (size_t i = 0; i < n; ++i) out[i] += s[i];
      } else {
        AddSoftmax(in, s, out, scratch);
      }
    }
  }
  if (in.kind == CombineKind::kMax) return;
  const float share = 1.0f / static_cast<float>(in.n_heads);
  for (float& x : out) x *= share;
}

float PageRanking::Score(int32_t page) const {
  if (pages.empty()) return scores[page];
  const auto found = std::lower_bound(pages.begin(), pages.end(), page);
  const bool listed = found != pages.end() && *found == page;
  return listed ? scores[found - pages.begin()] : -kInfinity;
}

void SelectPages(const PageRanking& ranking, int32_t begin, int32_t end, int32_t k, std::vector<int32_t>& selected,
                 TopKScratch* scratch) {
  TopKScratch own;
  if (scratch == nullptr) scratch = &own;
  if (!ranking.pages.empty()) {
    TopK(ranking.scores, k, selected, *scratch);
    for (int32_t& i : selected) i = ranking.pages[i];
    return;
  }
  const size_t n = std::max(end - begin, 0);
  TopK(n == 0 ? std::span<const float>() : ranking.scores.subspan(begin, n), k, selected, *scratch);
  for (int32_t& page : selected) page += begin;
}

int32_t ShortlistSize(const PageBudget& budget, int32_t n_pages) {
  constexpr int32_t kTimesChosen = 2;
  const int32_t candidates = std::max(0, budget.n_candidates(n_pages));
  return std::min(candidates, kTimesChosen * std::max(budget.topk, budget.places()));
}

}  // namespace arkvale
