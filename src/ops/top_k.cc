#include "ops/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace arkvale {

bool RanksBefore(float a, int64_t ia, float b, int64_t ib) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  if (std::isnan(a)) a = kLowest;
  if (std::isnan(b)) b = kLowest;
  return a != b ? a > b : ia < ib;
}

void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out) {
  const auto n = static_cast<int64_t>(scores.size());
  k = std::clamp<int64_t>(k, 0, n);
  if (k == 0) {
    out.clear();
    return;
  }
  const auto before = [&](int32_t a, int32_t b) { return RanksBefore(scores[a], a, scores[b], b); };
  // Up to 2k contenders, cut to the best k whenever they are that many. A cut costs O(k) and k new contenders pay for
  // it; and as indices grow, only a higher score beats the last of the best, which few scores do.
  const int64_t capacity = std::min(n, 2 * k);
  out.resize(capacity);
  std::iota(out.begin(), out.end(), 0);
  int64_t size = capacity;
  float bar = 0;
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + (k - 1), out.begin() + size, before);
    bar = std::isnan(scores[out[k - 1]]) ? -std::numeric_limits<float>::infinity() : scores[out[k - 1]];
    size = k;
  };
  if (size > k) cut();
  for (int64_t i = capacity; i < n; ++i) {
    if (!(scores[i] > bar)) continue;
    out[size++] = static_cast<int32_t>(i);
    if (size == capacity) cut();
  }
  if (size > k) cut();
  out.resize(k);
  std::sort(out.begin(), out.end(), before);
}

}  // namespace arkvale
