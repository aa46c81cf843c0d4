#include "kv/select.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/top_k.h"

namespace arkvale {

PageBudget MakePageBudget(const KvOptions& o, int32_t layer, bool reads_in_place) {
  if (o.policy == KvPolicyKind::kFull || layer < o.dense_layers) return {};
  int64_t c = o.budget_tokens;
  if (!o.layer_budget_tokens.empty() && o.layer_budget_tokens[layer] > 0) c = o.layer_budget_tokens[layer];
  if (c == 0) return {};
  PageBudget b{.pages = static_cast<int32_t>(std::min<int64_t>(c / o.page_tokens, std::numeric_limits<int32_t>::max())),
               .sinks = o.sink_pages,
               .window = o.window_pages};
  TopkRule rule = o.topk;
  if (!o.layer_topk_pages.empty() && o.layer_topk_pages[layer] > 0) {
    rule = {TopkRule::Kind::kPages, o.layer_topk_pages[layer]};
  }
  if (rule.kind == TopkRule::Kind::kAuto && reads_in_place) {
    b.topk = b.places();
    return b;
  }
  const int64_t nominal =
      rule.kind == TopkRule::Kind::kPages ? rule.pages : std::min<int64_t>(kTopkCapTokens, c / 2) / o.page_tokens;
  b.topk = static_cast<int32_t>(std::clamp<int64_t>(nominal - b.sinks - (b.window - 1), 1, b.places()));
  return b;
}

void CombineScores(CombineKind kind, std::span<const float> head_scores, int32_t n_heads, float scale,
                   std::span<float> out) {
  const size_t n = out.size();
  std::fill(out.begin(), out.end(), kind == CombineKind::kMax ? -std::numeric_limits<float>::infinity() : 0.0f);
  for (int32_t h = 0; h < n_heads; ++h) {
    const float* s = head_scores.data() + static_cast<size_t>(h) * n;
    if (kind == CombineKind::kMax) {
      for (size_t i = 0; i < n; ++i) out[i] = std::max(out[i], s[i]);
    } else if (kind == CombineKind::kMean) {
      for (size_t i = 0; i < n; ++i) out[i] += s[i];
    } else {
      float top = -std::numeric_limits<float>::infinity();
      for (size_t i = 0; i < n; ++i) top = std::max(top, s[i]);
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += std::exp(scale * (s[i] - top));
      const auto inverse = static_cast<float>(1.0 / sum);
      for (size_t i = 0; i < n; ++i) out[i] += std::exp(scale * (s[i] - top)) * inverse;
    }
  }
  if (kind == CombineKind::kMax) return;
  const float share = 1.0f / static_cast<float>(n_heads);
  for (float& x : out) x *= share;
}

void SelectPages(std::span<const float> scores, int32_t begin, int32_t end, int32_t k, std::vector<int32_t>& selected) {
  selected.clear();
  if (end <= begin) return;
  TopK(scores.subspan(begin, end - begin), std::min(k, end - begin), selected);
  for (int32_t& page : selected) page += begin;
}

}  // namespace arkvale
