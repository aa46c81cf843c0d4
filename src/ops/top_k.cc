#include "ops/top_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/top_k.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef ARKVALE_OPS_TOP_K_ONCE_
#define ARKVALE_OPS_TOP_K_ONCE_

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace arkvale {

inline constexpr float kLowest = -std::numeric_limits<float>::infinity();
inline constexpr uint32_t kSign = 1u << 31;

// Scores as integers of the same order; NaN as -inf, -0 as 0.
inline uint32_t Rank(float score) {
  const auto bits = std::bit_cast<uint32_t>(std::isnan(score) ? kLowest : score + 0.0f);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}
inline float ScoreOf(uint32_t rank) { return std::bit_cast<float>((rank & kSign) != 0 ? rank ^ kSign : ~rank); }

}  // namespace arkvale

#endif  // ARKVALE_OPS_TOP_K_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scores above `bar`; NaN is above nothing.
int64_t CountAbove(const float* s, int64_t n, float bar) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto v = hn::Set(d, bar);
  size_t count = 0;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) count += hn::CountTrue(d, hn::Gt(hn::LoadU(d, s + i), v));
  auto above = static_cast<int64_t>(count);
  for (; i < n; ++i) above += s[i] > bar ? 1 : 0;
  return above;
}

struct Range {
  float least, most;
};

Range RangeOf(const float* s, int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto lowest = hn::Set(d, kLowest);
  auto least = hn::Set(d, -kLowest), most = lowest;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, s + i);
    const auto known = hn::IfThenElse(hn::IsNaN(x), lowest, x);
    least = hn::Min(least, known);
    most = hn::Max(most, known);
  }
  Range r{hn::GetLane(hn::MinOfLanes(d, least)), hn::GetLane(hn::MaxOfLanes(d, most))};
  for (; i < n; ++i) {
    const float known = std::isnan(s[i]) ? kLowest : s[i];
    r = {std::min(r.least, known), std::max(r.most, known)};
  }
  return r;
}

// A score with at most k scores above it, and with fewer only where it is the k-th best itself: bisection, since passes
// over the scores without a branch are cheaper than a partition with one per score.
float FindBar(const float* s, int64_t n, int64_t k) {
  const Range range = RangeOf(s, n);
  uint32_t low = Rank(range.least) - 1, high = Rank(range.most);  // above low there are >= k, above high fewer
  constexpr int kEvenSteps = 14;                                  // halving the scores' range, then that of their bits
  for (int step = 0; high - low > 1; ++step) {
    const float half = 0.5f * ScoreOf(low) + 0.5f * ScoreOf(high);
    uint32_t middle = step < kEvenSteps && std::isfinite(half) ? Rank(half) : low;
    if (middle <= low || middle >= high) middle = low + (high - low) / 2;
    const int64_t above = CountAbove(s, n, ScoreOf(middle));
    if (above == k) return ScoreOf(middle);
    (above > k ? low : high) = middle;
  }
  return ScoreOf(high);
}

// Keys of the k best in index order; 0 < k < n.
void BestKeys(const float* s, int64_t n, int64_t k, uint64_t* keys) {
  const float bar = FindBar(s, n, k);
  int64_t equal = k - CountAbove(s, n, bar);
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto v = hn::Set(d, bar);
  const auto look = [&](int64_t i) {
    const bool above = s[i] > bar;
    if (!above && (equal == 0 || s[i] < bar || (std::isnan(s[i]) && bar > kLowest))) return;
    if (!above) --equal;
    *keys++ = RankKey(s[i], static_cast<int32_t>(i));
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, s + i);
    if (equal == 0 && hn::AllFalse(d, hn::Gt(x, v))) continue;
    for (int64_t j = i; j < i + lanes; ++j) look(j);
  }
  for (; i < n; ++i) look(i);
}

// sorted: the n keys in descending order; they are distinct. For few keys: every one counts those above it.
void SortFewKeys(const uint64_t* keys, int64_t n, int32_t* sorted) {
  const hn::ScalableTag<uint64_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < n; ++i) {
    const auto key = hn::Set(d, keys[i]);
    size_t above = 0;
    int64_t j = 0;
    for (; j + lanes <= n; j += lanes) above += hn::CountTrue(d, hn::Gt(hn::LoadU(d, keys + j), key));
    for (; j < n; ++j) above += keys[j] > keys[i] ? 1 : 0;
    sorted[above] = RankedIndex(keys[i]);
  }
}

}  // namespace arkvale::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace arkvale {

HWY_EXPORT(BestKeys);
HWY_EXPORT(SortFewKeys);

bool RanksBefore(float a, int64_t ia, float b, int64_t ib) {
  if (std::isnan(a)) a = kLowest;
  if (std::isnan(b)) b = kLowest;
  return a != b ? a > b : ia < ib;
}

uint64_t RankKey(float score, int32_t index) {
  return uint64_t{Rank(score)} << 31 | (0x7fffffffu - static_cast<uint32_t>(index));
}

void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out) {
  TopKScratch scratch;
  TopK(scores, k, out, scratch);
}

namespace {

// Keys of the k best of n >= k in index order.
std::span<uint64_t> KeysOfBest(std::span<const float> scores, int64_t k, TopKScratch& scratch) {
  const auto n = static_cast<int64_t>(scores.size());
  std::vector<uint64_t>& keys = scratch.keys;
  keys.resize(k);
  if (k == n) {
    for (int64_t i = 0; i < n; ++i) keys[i] = RankKey(scores[i], static_cast<int32_t>(i));
  } else if (k > 0) {
    HWY_DYNAMIC_DISPATCH(BestKeys)(scores.data(), n, k, keys.data());
  }
  return keys;
}

}  // namespace

void TopK(std::span<const float> scores, int64_t k, std::vector<int32_t>& out, TopKScratch& scratch) {
  constexpr int64_t kFewKeys = 64;
  k = std::clamp<int64_t>(k, 0, static_cast<int64_t>(scores.size()));
  out.resize(k);
  const auto keys = KeysOfBest(scores, k, scratch);
  if (k <= kFewKeys) {
    HWY_DYNAMIC_DISPATCH(SortFewKeys)(keys.data(), k, out.data());
    return;
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  std::transform(keys.begin(), keys.end(), out.begin(), RankedIndex);
}

void TopKInOrder(std::span<const float> scores, std::span<int32_t> out, TopKScratch& scratch) {
  const auto keys = KeysOfBest(scores, static_cast<int64_t>(out.size()), scratch);
  std::transform(keys.begin(), keys.end(), out.begin(), RankedIndex);
}

}  // namespace arkvale
#endif  // HWY_ONCE
