// How SIMD kernels read rows of f16, f32, int8, q8_0 or q4_0 (base/dtype.h) and add up vectors of partial sums.
// Compiled once per target (Highway's foreach_target).
//
// A row of `length` elements is read as whole vectors; when the length is no multiple of the vector, the last vector
// ends at the row's end and overlaps the one before it. So nothing outside the row is ever read. Only a row shorter
// than one vector goes through a copy. A quantised row is whole blocks, of which no vector holds parts of two; it
// gives the bits of the f32 row that it stands for.

#if defined(ARKVALE_OPS_ROW_LOADS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_ROW_LOADS_INL_H_
#undef ARKVALE_OPS_ROW_LOADS_INL_H_
#else
#define ARKVALE_OPS_ROW_LOADS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr int64_t kN = hn::MaxLanes(DF());  // 1 on targets without SIMD
static_assert(kN == 1 || kN == 4 || kN == 8 || kN == 16, "fixed vectors of at most 512 bits only");

// Rows in flight in a dot product, and query heads that share their loads: 4 rows x kHeadGroup sums fill one vector.
// AVX2 thus converts a row twice for four heads; sixteen sums would not fit its registers.
constexpr int kRowBlock = 4;
constexpr int kHeadGroup = kN >= 8 ? kN / 4 : 1;

// Where the vectors of a row start. Rows lie `row_stride` elements apart.
struct RowCut {
  explicit RowCut(int64_t row_length) : RowCut(row_length, row_length) {}
  RowCut(int64_t row_length, int64_t row_stride)
      : length(row_length),
        stride(row_stride),
        n_vec((row_length + kN - 1) / kN),
        last(std::max<int64_t>(0, row_length - kN)) {}
  int64_t offset(int64_t i) const { return i + 1 < n_vec ? i * kN : last; }
  int64_t padded() const { return n_vec * kN; }
  bool is_short() const { return length < kN; }

  int64_t length, stride, n_vec, last;
};

HWY_INLINE VF LoadRow(const float* p) { return hn::LoadU(DF(), p); }
HWY_INLINE VF LoadRow(const f16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(DF(), hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE VF LoadRow(const int8_t* p) {
  const hn::Rebind<int8_t, DF> di8;
  return hn::ConvertTo(DF(), hn::PromoteTo(hn::Rebind<int32_t, DF>(), hn::LoadU(di8, p)));
}
template <typename T>
HWY_INLINE VF LoadShortRow(const T* p, int64_t length) {
  HWY_ALIGN T copy[kN] = {};
  std::memcpy(copy, p, length * sizeof(T));
  return LoadRow(copy);
}
template <bool kShort, typename T>
HWY_INLINE VF LoadPart(const T* row, int64_t offset, int64_t length) {
  if constexpr (kShort) return LoadShortRow(row, length);
  return LoadRow(row + offset);
}

// Scales of a quantised row's blocks `first`.. to out [n].
template <QuantisedRow Q>
HWY_INLINE void LoadScales(const Q* row, int64_t length, int64_t first, int64_t n, float* out) {
  const hn::CappedTag<float, 2> d2;
  const hn::CappedTag<float, 1> d1;
  const auto* scales = reinterpret_cast<const hwy::float16_t*>(row + CodeBytes<Q>(length)) + first;
  int64_t i = 0;
  for (; i + 2 <= n && hn::MaxLanes(d2) == 2; i += 2) {
    hn::StoreU(hn::PromoteTo(d2, hn::LoadU(hn::Rebind<hwy::float16_t, decltype(d2)>(), scales + i)), d2, out + i);
  }
  for (; i < n; ++i) {
    hn::StoreU(hn::PromoteTo(d1, hn::LoadU(hn::Rebind<hwy::float16_t, decltype(d1)>(), scales + i)), d1, out + i);
  }
}

// The vector at `offset` of a row whose block there has this scale.
HWY_INLINE VF LoadBlockPart(const q8_t* row, int64_t offset, float scale) {
  return hn::Mul(LoadRow(reinterpret_cast<const int8_t*>(row + offset)), hn::Set(DF(), scale));
}
HWY_INLINE VF LoadBlockPart(const q4_t* row, int64_t offset, float scale) {
  constexpr int64_t kHalf = kQuantBlock / 2;
  static_assert(kHalf % kN == 0, "a vector holds codes of one half");
  const DF d;
  const hn::RebindToSigned<DF> di;
  const int64_t in_block = offset % kQuantBlock;
  const auto* const bytes =
      reinterpret_cast<const uint8_t*>(row + CodeBytes<q4_t>(offset - in_block) + in_block % kHalf);
  const auto both = hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, DF>(), bytes));
  const auto code = in_block < kHalf ? hn::And(both, hn::Set(di, 15)) : hn::ShiftRight<4>(both);
  if constexpr (kN == 16) {  // one vector holds what all codes stand for
    const VF values = hn::Iota(d, -8.0f);
    return hn::Mul(hn::TableLookupLanes(values, hn::IndicesFromVec(d, code)), hn::Set(d, scale));
  } else {
    return hn::Mul(hn::ConvertTo(d, hn::Sub(code, hn::Set(di, 8))), hn::Set(d, scale));
  }
}
template <bool kShort, QuantisedRow Q>  // never short: a block is longer than a vector
HWY_INLINE VF LoadPart(const Q* row, int64_t offset, int64_t length) {
  float scale = 0;
  LoadScales(row, length, offset / kQuantBlock, 1, &scale);
  return LoadBlockPart(row, offset, scale);
}

// fn(T()) for the element type T of rows of `dtype`, which is f16, f32 or quantised.
template <typename Fn>
HWY_INLINE void ForRowType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kF16: return fn(f16_t());
    case DType::kQ8: return fn(q8_t());
    case DType::kQ4: return fn(q4_t());
    default: return fn(float());
  }
}

// Lays `src` out in vectors as RowCut reads rows, times `scale`; lanes that another vector covers are 0.
inline void PackRow(const RowCut& cut, const float* src, float scale, float* packed) {
  std::fill(packed, packed + cut.padded(), 0.0f);
  const int64_t whole = cut.length / kN * kN;
  for (int64_t t = 0; t < whole; ++t) packed[t] = scale * src[t];
  for (int64_t t = whole; t < cut.length; ++t) packed[whole + t - cut.last] = scale * src[t];
}

// dst[0..length) = factor * src, src in RowCut's layout.
inline void UnpackRow(const RowCut& cut, const float* src, float factor, float* dst) {
  const int64_t whole = cut.length / kN * kN;
  for (int64_t t = 0; t < whole; ++t) dst[t] = factor * src[t];
  for (int64_t t = whole; t < cut.length; ++t) dst[t] = factor * src[whole + t - cut.last];
}
#if HWY_TARGET != HWY_SCALAR
// One vector whose 128-bit block h holds four partial sums of the lanes of acc[h * kStride], h < kHeads.
template <int kHeads, int kStride = 1, typename V>
HWY_INLINE V FoldHeads(const V* acc) {
  const hn::DFromV<V> d;
  if constexpr (kN == 16) {
    const V h0 = acc[0], h1 = acc[1 % kHeads * kStride], h2 = acc[2 % kHeads * kStride],
            h3 = acc[(kHeads > 3 ? 3 : 1 % kHeads) * kStride];
    const V x = hn::Add(hn::ConcatUpperLower(d, h2, h0), hn::ConcatLowerUpper(d, h2, h0));  // h0 h0 h2 h2
    const V y = hn::Add(hn::ConcatUpperLower(d, h3, h1), hn::ConcatLowerUpper(d, h3, h1));  // h1 h1 h3 h3
    return hn::Add(hn::OddEvenBlocks(y, x), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(x, y)));
  } else if constexpr (kN == 8) {
    const V h0 = acc[0], h1 = acc[1 % kHeads * kStride];
    return hn::Add(hn::ConcatUpperLower(d, h1, h0), hn::ConcatLowerUpper(d, h1, h0));
  } else {
    return acc[0];
  }
}

// Block h of the result: the sums of block h of a, b, c, e.
template <typename V>
HWY_INLINE V SumBlocks(V a, V b, V c, V e) {
  const hn::DFromV<V> d;
  const V u = hn::Add(hn::InterleaveLower(d, a, c), hn::InterleaveUpper(d, a, c));
  const V v = hn::Add(hn::InterleaveLower(d, b, e), hn::InterleaveUpper(d, b, e));
  return hn::Add(hn::InterleaveLower(d, u, v), hn::InterleaveUpper(d, u, v));
}
HWY_INLINE void StoreSums(VF a, VF b, VF c, VF e, float* sums) { hn::Store(SumBlocks(a, b, c, e), DF(), sums); }
#else
template <int kHeads>
HWY_INLINE VF FoldHeads(const VF* acc) {
  return acc[0];
}
HWY_INLINE void StoreSums(VF a, VF b, VF c, VF e, float* sums) {
  const VF rows[kRowBlock] = {a, b, c, e};
  for (int r = 0; r < kRowBlock; ++r) hn::Store(rows[r], DF(), sums + r);
}
#endif

// `next` (or null) is memory of the same size that is needed soon: each block of rows asks for its share of it.
HWY_INLINE void PrefetchShare(const std::byte* next, int64_t from_bytes, int64_t n_bytes) {
  if (next == nullptr) return;
  for (int64_t at = from_bytes; at < from_bytes + n_bytes; at += 64) hwy::Prefetch(next + at);
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
