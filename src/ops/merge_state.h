// MergeState: joins attention over two disjoint token sets into attention over their union (algorithms 4.4).
#pragma once

#include <cstdint>

namespace arkvale {

// For each of n heads: lse = log(exp(lse_a) + exp(lse_b)), out = exp(lse_a - lse) out_a + exp(lse_b - lse) out_b, where
// a is (out, lse), which is overwritten. out, out_b: [n, d]; lse, lse_b: [n] natural. A side with lse = -inf is empty.
void MergeState(int64_t n, int64_t d, float* out, float* lse, const float* out_b, const float* lse_b);

}  // namespace arkvale
