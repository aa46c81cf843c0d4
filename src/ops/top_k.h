// TopK under the project's order rule: higher value first, equal values by smaller index, NaN counts as -inf.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace arkvale {

// Memory that a caller keeps, so that calls of a size seen before allocate nothing.
struct TopKScratch {
  std::vector<uint64_t> keys;
};

// Indices of the min(k, n) best of scores, best first, appended to nothing: `out` is overwritten. O(n + k log k).
void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out);
void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out, TopKScratch& scratch);

// The out.size() <= n best indices in ascending order: the same set as TopK's, cheaper for many.
void TopKInOrder(std::span<const float> scores, std::span<int32_t> out, TopKScratch& scratch);

// True when value a at index ia ranks before value b at index ib.
bool RanksBefore(float a, int64_t ia, float b, int64_t ib);

// The order rule as one comparison of integers: the larger key ranks first. index >= 0.
uint64_t RankKey(float score, int32_t index);
inline int32_t RankedIndex(uint64_t key) { return static_cast<int32_t>(0x7fffffffu - (key & 0x7fffffffu)); }

}  // namespace arkvale
