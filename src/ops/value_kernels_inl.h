// SIMD kernels of attention over value codes: sums over tokens of weights times lo + st x. Compiled once per target
// (Highway's foreach_target).
//
// The products with lo are summed in f32, once for all dimensions. Those with x, a = weight * st, are rounded to 8 bits
// for up to 32 tokens at a time (a strip), so that a multiply-add of bytes takes two tokens of a dimension and the sums
// fit 16 bits; one step is the larger of max a / 255 and what the sums allow. a is rounded up where what is left of it
// exceeds a threshold, and the thresholds of a strip's tokens are spread evenly: many weights below half a step then
// count as much as they weigh together, where rounding to nearest would lose them all.

#if defined(ARKVALE_OPS_VALUE_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_VALUE_KERNELS_INL_H_
#undef ARKVALE_OPS_VALUE_KERNELS_INL_H_
#else
#define ARKVALE_OPS_VALUE_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "base/f16.h"
#include "ops/row_loads_inl.h"
#include "ops/value_code_layout.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

constexpr int64_t kStripTokens = 32;
constexpr int kValueHeads = 4;  // query heads that share the unpacking

// Steps of a strip's tokens as f32, 0 from n_tokens on.
struct StripSteps {
  HWY_ALIGN float lo[kStripTokens];
  HWY_ALIGN float st[kStripTokens];
};

// n_tokens from `token` on of a page of value codes; all multiples of 8.
template <class D>
HWY_INLINE void LoadSteps(D d, const std::byte* page, int64_t page_tokens, int64_t token, int64_t n_tokens,
                          StripSteps& to) {
  [[maybe_unused]] const hn::Rebind<hwy::float16_t, D> dh;
  const auto* const lo = reinterpret_cast<const f16_t*>(page) + token;
  const auto* const st = lo + page_tokens;
  const auto load = [&](const f16_t* from, float* out) HWY_ATTR {
#if HWY_TARGET == HWY_SCALAR
    *out = F16ToF32(*from);  // Highway's own knows no NaN
#else
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(from))), d, out);
#endif
  };
  for (int64_t i = 0; i < n_tokens; i += static_cast<int64_t>(hn::MaxLanes(d))) {
    load(lo + i, to.lo + i);
    load(st + i, to.st + i);
  }
}
HWY_INLINE void LoadSteps(const std::byte* page, int64_t page_tokens, int64_t token, int64_t n_tokens, StripSteps& to) {
  if (n_tokens % kN == 0) return LoadSteps(DF(), page, page_tokens, token, n_tokens, to);
  LoadSteps(hn::CappedTag<float, 8>(), page, page_tokens, token, n_tokens, to);
  std::fill(to.lo + n_tokens, to.lo + kStripTokens, 0.0f);
  std::fill(to.st + n_tokens, to.st + kStripTokens, 0.0f);
}

// One head's a of a strip, rounded.
struct StripWeights {
  HWY_ALIGN uint8_t rounded[kStripTokens];
  float step;                       // of the rounded ones
  HWY_ALIGN float floors[kN] = {};  // sum of weight * lo over all strips so far, in any lane
};

// Half a step less than the thresholds 1/64, 3/64 .. in the order in which they are dealt out: any few neighbours get
// some of each size.
HWY_ALIGN constexpr float kThresholds[kStripTokens] = {
    -0x1fp-6f, 0x01p-6f, -0x0fp-6f, 0x11p-6f, -0x17p-6f, 0x09p-6f, -0x07p-6f, 0x19p-6f,
    -0x1bp-6f, 0x05p-6f, -0x0bp-6f, 0x15p-6f, -0x13p-6f, 0x0dp-6f, -0x03p-6f, 0x1dp-6f,
    -0x1dp-6f, 0x03p-6f, -0x0dp-6f, 0x13p-6f, -0x15p-6f, 0x0bp-6f, -0x05p-6f, 0x1bp-6f,
    -0x19p-6f, 0x07p-6f, -0x09p-6f, 0x17p-6f, -0x11p-6f, 0x0fp-6f, -0x01p-6f, 0x1fp-6f};

// weights [n_tokens up to whole vectors, 0 behind the last token] of codes of kBits.
template <int kBits>
HWY_INLINE void RoundWeights(const float* weights, int64_t n_tokens, const StripSteps& steps, StripWeights& to) {
  constexpr int kLargest = 255, kLevels = (1 << kBits) - 1, kLargestSum = 32767 / kLevels;  // of the rounded ones
  const DF d;
  const hn::RebindToUnsigned<DF> du32;
  HWY_ALIGN float a[kStripTokens];
  VF floors = hn::Load(d, to.floors), sum = hn::Zero(d), most = hn::Zero(d);
  for (int64_t i = 0; i < n_tokens; i += kN) {
    const VF w = hn::LoadU(d, weights + i), x = hn::Mul(w, hn::Load(d, steps.st + i));
    floors = hn::MulAdd(w, hn::Load(d, steps.lo + i), floors);
    sum = hn::Add(sum, x);
    most = hn::Max(most, x);
    hn::Store(x, d, a + i);
  }
  hn::Store(floors, d, to.floors);
  to.step = hn::GetLane(hn::MaxOfLanes(d, most)) * (1.0f / kLargest);
  if constexpr (kLargest * kStripTokens > kLargestSum) {
    to.step = std::max(to.step, hn::GetLane(hn::SumOfLanes(d, sum)) * (1.0f / (kLargestSum - kStripTokens)));
  }
  const bool is_nothing = !(to.step > 1e-30f);
  if (is_nothing) to.step = 0;
  const VF factor = hn::Set(d, is_nothing ? 0.0f : 1 / to.step);
  const VF magic = hn::Set(d, 0x1.8p23f);  // x + magic has the nearest integer of x in its last bits
  for (int64_t i = 0; i < n_tokens; i += kN) {
    const VF x = hn::MulAdd(hn::Load(d, a + i), factor, hn::Load(d, kThresholds + i));
    const auto bytes = hn::TruncateTo(hn::Rebind<uint8_t, DF>(), hn::BitCast(du32, hn::Add(x, magic)));
    hn::StoreU(bytes, hn::Rebind<uint8_t, DF>(), to.rounded + i);
  }
}

#if HWY_TARGET == HWY_SCALAR

// sums[h * sums_stride + dim] += step of head h * sum over the strip's tokens of rounded weight * x. codes: the strip's
// groups, which are n_tokens * kBits / 16.
template <int kBits>
void SumStrip(const uint8_t* codes, int64_t n_tokens, int64_t coded_dim, const StripWeights* weights, int n_heads,
              float* sums, int64_t sums_stride) {
  const int64_t group_tokens = ValueGroupTokens(kBits);
  for (int h = 0; h < n_heads; ++h) {
    for (int64_t t = 0; t < coded_dim; ++t) {
      int32_t sum = 0;
      for (int64_t token = 0; token < n_tokens; ++token) {
        const int byte = codes[token / group_tokens * 2 * coded_dim + 2 * t + token % 2];
        const int code = byte >> ValueCodeShift(kBits, token) & ((1 << kBits) - 1);
        sum += code * weights[h].rounded[token];
      }
      sums[h * sums_stride + t] += weights[h].step * static_cast<float>(sum);
    }
  }
}

#else

using DI16 = hn::CappedTag<int16_t, kValueBlock>;
using VI16 = hn::Vec<DI16>;
using DU16 = hn::RebindToUnsigned<DI16>;
using VU16 = hn::Vec<DU16>;

// sum + the products of the bytes of a lane's weights (unsigned) and codes (signed, sums below 2^15).
HWY_INLINE VI16 AddBytePairs(VI16 sum, VU16 weights, VU16 codes) {
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  return hn::Add(sum, VI16{_mm512_maddubs_epi16(weights.raw, codes.raw)});
#elif HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86
  return hn::Add(sum, VI16{_mm256_maddubs_epi16(weights.raw, codes.raw)});
#else
  const VU16 low = hn::Set(DU16(), uint16_t{0xff});
  const VU16 even = hn::Mul(hn::And(weights, low), hn::And(codes, low));
  const VU16 odd = hn::Mul(hn::ShiftRight<8>(weights), hn::ShiftRight<8>(codes));
  return hn::Add(sum, hn::BitCast(DI16(), hn::Add(even, odd)));
#endif
}

// sums[t..] += step * integers.
HWY_INLINE void AddIntegers(VI16 integers, float step, float* sums) {
  const DF d;
  const hn::RebindToSigned<DF> d32;
  const hn::Half<DI16> half;
  const VF factor = hn::Set(d, step);
  const VF low = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LowerHalf(half, integers)));
  const VF high = hn::ConvertTo(d, hn::PromoteTo(d32, hn::UpperHalf(half, integers)));
  hn::StoreU(hn::MulAdd(factor, low, hn::LoadU(d, sums)), d, sums);
  hn::StoreU(hn::MulAdd(factor, high, hn::LoadU(d, sums + kN)), d, sums + kN);
}

// Dimensions [dim, dim + kVecs vectors).
template <int kBits, int kHeads, int kVecs>
HWY_INLINE void SumStripTile(const uint8_t* codes, int64_t n_tokens, int64_t coded_dim, int64_t dim,
                             const StripWeights* weights, float* sums, int64_t sums_stride) {
  constexpr int64_t kLanes = hn::MaxLanes(DI16()), kGroupTokens = 16 / kBits;
  VI16 sum[kHeads][kVecs];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) sum[h][v] = hn::Zero(DI16());
  }
  const VU16 mask = hn::Set(DU16(), static_cast<uint16_t>(((1 << kBits) - 1) * 0x101));
  const uint8_t* group = codes + 2 * dim;
  for (int64_t token = 0; token < n_tokens; token += kGroupTokens, group += 2 * coded_dim) {
    VU16 left[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      left[v] = hn::LoadU(DU16(), reinterpret_cast<const uint16_t*>(group + 2 * v * kLanes));
    }
#pragma GCC unroll 4
    for (int64_t pair = 0; pair < kGroupTokens / 2; ++pair) {
      VU16 pairs[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        pairs[v] = hn::And(left[v], mask);
        left[v] = hn::ShiftRight<kBits>(left[v]);
      }
      for (int h = 0; h < kHeads; ++h) {
        uint16_t two;
        std::memcpy(&two, weights[h].rounded + token + 2 * pair, sizeof(two));
        const VU16 factors = hn::Set(DU16(), two);
        for (int v = 0; v < kVecs; ++v) sum[h][v] = AddBytePairs(sum[h][v], factors, pairs[v]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) {
      AddIntegers(sum[h][v], weights[h].step, sums + h * sums_stride + dim + v * kLanes);
    }
  }
}

template <int kBits, int kHeads>
void SumStripOfHeads(const uint8_t* codes, int64_t n_tokens, int64_t coded_dim, const StripWeights* weights,
                     float* sums, int64_t sums_stride) {
  constexpr int64_t kLanes = hn::MaxLanes(DI16());
  constexpr int kVecs = 2;  // as many sums as the registers hold
  int64_t dim = 0;
  for (; dim + kVecs * kLanes <= coded_dim; dim += kVecs * kLanes) {
    SumStripTile<kBits, kHeads, kVecs>(codes, n_tokens, coded_dim, dim, weights, sums, sums_stride);
  }
  for (; dim < coded_dim; dim += kLanes) {
    SumStripTile<kBits, kHeads, 1>(codes, n_tokens, coded_dim, dim, weights, sums, sums_stride);
  }
}

// sums[h * sums_stride + dim] += step of head h * sum over the strip's tokens of rounded weight * x, n_heads <=
// kValueHeads. codes: the strip's groups, which are n_tokens * kBits / 16.
template <int kBits>
void SumStrip(const uint8_t* codes, int64_t n_tokens, int64_t coded_dim, const StripWeights* weights, int n_heads,
              float* sums, int64_t sums_stride) {
  switch (n_heads) {
    case 1: return SumStripOfHeads<kBits, 1>(codes, n_tokens, coded_dim, weights, sums, sums_stride);
    case 2: return SumStripOfHeads<kBits, 2>(codes, n_tokens, coded_dim, weights, sums, sums_stride);
    case 3: return SumStripOfHeads<kBits, 3>(codes, n_tokens, coded_dim, weights, sums, sums_stride);
    default: return SumStripOfHeads<kBits, 4>(codes, n_tokens, coded_dim, weights, sums, sums_stride);
  }
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
