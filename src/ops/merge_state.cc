#include "ops/merge_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace arkvale {

void MergeState(int64_t n, int64_t d, float* out, float* lse, const float* out_b, const float* lse_b) {
  constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i, out += d, out_b += d) {
    if (lse_b[i] == kEmpty) continue;
    if (lse[i] == kEmpty) {
      std::copy(out_b, out_b + d, out);
      lse[i] = lse_b[i];
      continue;
    }
    const float top = std::max(lse[i], lse_b[i]);
    const float a = std::exp(lse[i] - top), b = std::exp(lse_b[i] - top);
    const float sum = a + b;
    const float weight_a = a / sum, weight_b = b / sum;
    for (int64_t t = 0; t < d; ++t) out[t] = weight_a * out[t] + weight_b * out_b[t];
    lse[i] = top + std::log(sum);
  }
}

}  // namespace arkvale
