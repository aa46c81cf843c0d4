#include "kv/audit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kv/select.h"
#include "ops/top_k.h"

namespace arkvale {

void TrueScores(CombineKind kind, std::span<const float> max_qk, int32_t n_heads, std::span<float> out) {
  const bool max = kind == CombineKind::kMax;
  CombineScores({.kind = max ? CombineKind::kMax : CombineKind::kMean, .head_scores = max_qk, .n_heads = n_heads}, out,
                {});
}

double SetRecall(std::span<const float> true_scores, int32_t begin, int32_t end, std::span<const int32_t> selected) {
  if (selected.empty()) return 1.0;
  std::vector<int32_t> best;
  TopK(true_scores.subspan(begin, end - begin), static_cast<int64_t>(selected.size()), best);
  int64_t found = 0;
  for (const int32_t page : best) found += std::binary_search(selected.begin(), selected.end(), page + begin) ? 1 : 0;
  return static_cast<double>(found) / static_cast<double>(selected.size());
}

double MassRecall(std::span<const float> lse, int32_t n_heads, std::span<const uint8_t> attended) {
  const size_t n = attended.size();
  double shares = 0;
  for (int32_t h = 0; h < n_heads; ++h) {
    const auto head = lse.subspan(h * n, n);
    const double top = *std::max_element(head.begin(), head.end());
    double all = 0, inside = 0;
    for (size_t i = 0; i < n; ++i) {
      const double mass = std::exp(head[i] - top);
      all += mass;
      if (attended[i] != 0) inside += mass;
    }
    shares += inside / all;
  }
  return shares / n_heads;
}

}  // namespace arkvale
