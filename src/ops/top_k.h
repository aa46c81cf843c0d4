// TopK under the project's order rule: higher value first, equal values by smaller index, NaN counts as -inf.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace arkvale {

// Indices of the min(k, n) best of scores, best first, appended to nothing: `out` is overwritten. O(n + k log k).
void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out);

// True when value a at index ia ranks before value b at index ib.
bool RanksBefore(float a, int64_t ia, float b, int64_t ib);

}  // namespace arkvale
