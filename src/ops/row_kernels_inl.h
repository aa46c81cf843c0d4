// SIMD kernels over rows of f16, f32 or int8: dot products of rows with a few queries, and weighted sums of rows. Paged
// attention and digest scores are made of them. Compiled once per target (Highway's foreach_target).
//
// A row of `length` elements is read as whole vectors; when the length is no multiple of the vector, the last vector
// ends at the row's end and overlaps the one before it. So nothing outside the row is ever read. Only a row shorter
// than one vector goes through a copy.

#if defined(ARKVALE_OPS_ROW_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_ROW_KERNELS_INL_H_
#undef ARKVALE_OPS_ROW_KERNELS_INL_H_
#else
#define ARKVALE_OPS_ROW_KERNELS_INL_H_
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

// Lays `src` out in vectors as RowCut reads rows, times `scale`; lanes that another vector covers are 0.
inline void PackRow(const RowCut& cut, const float* src, float scale, float* packed) {
  std::fill(packed, packed + cut.padded(), 0.0f);
  const int64_t whole = cut.length / kN * kN;
  for (int64_t t = 0; t < whole; ++t) packed[t] = scale * src[t];
  for (int64_t t = whole; t < cut.length; ++t) packed[whole + t - cut.last] = scale * src[t];
}

#if HWY_TARGET != HWY_SCALAR
// One vector whose 128-bit block h holds four partial sums of head h's lanes.
template <int kHeads>
HWY_INLINE VF FoldHeads(const VF* acc) {
  const DF d;
  if constexpr (kN == 16) {
    const VF h0 = acc[0], h1 = acc[kHeads > 1 ? 1 : 0], h2 = acc[kHeads > 2 ? 2 : 0],
             h3 = acc[kHeads > 3 ? 3 : kHeads > 1];
    const VF x = hn::Add(hn::ConcatUpperLower(d, h2, h0), hn::ConcatLowerUpper(d, h2, h0));  // h0 h0 h2 h2
    const VF y = hn::Add(hn::ConcatUpperLower(d, h3, h1), hn::ConcatLowerUpper(d, h3, h1));  // h1 h1 h3 h3
    return hn::Add(hn::OddEvenBlocks(y, x), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(x, y)));
  } else if constexpr (kN == 8) {
    const VF h0 = acc[0], h1 = acc[kHeads > 1 ? 1 : 0];
    return hn::Add(hn::ConcatUpperLower(d, h1, h0), hn::ConcatLowerUpper(d, h1, h0));
  } else {
    return acc[0];
  }
}

// Block h of the result: the sums of block h of a, b, c, e.
HWY_INLINE VF SumBlocks(VF a, VF b, VF c, VF e) {
  const DF d;
  const VF u = hn::Add(hn::InterleaveLower(d, a, c), hn::InterleaveUpper(d, a, c));
  const VF v = hn::Add(hn::InterleaveLower(d, b, e), hn::InterleaveUpper(d, b, e));
  return hn::Add(hn::InterleaveLower(d, u, v), hn::InterleaveUpper(d, u, v));
}
#endif  // not HWY_SCALAR

// sums[4 * h + r] = row[r] . (packed query h).
template <int kHeads, bool kShort, typename T>
HWY_INLINE void DotBlock(const RowCut& cut, const T* const row[kRowBlock], const float* q, float* sums) {
  const DF d;
  VF acc[kRowBlock][kHeads];
  for (int r = 0; r < kRowBlock; ++r) {
    for (int h = 0; h < kHeads; ++h) acc[r][h] = hn::Zero(d);
  }
  const T* const r0 = row[0];
  const T* const r1 = row[1];
  const T* const r2 = row[2];
  const T* const r3 = row[3];
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    const int64_t at = cut.offset(i);
    const VF k0 = LoadPart<kShort>(r0, at, cut.length), k1 = LoadPart<kShort>(r1, at, cut.length);
    const VF k2 = LoadPart<kShort>(r2, at, cut.length), k3 = LoadPart<kShort>(r3, at, cut.length);
    for (int h = 0; h < kHeads; ++h) {
      const VF qv = hn::LoadU(d, q + h * cut.padded() + i * kN);
      acc[0][h] = hn::MulAdd(k0, qv, acc[0][h]);
      acc[1][h] = hn::MulAdd(k1, qv, acc[1][h]);
      acc[2][h] = hn::MulAdd(k2, qv, acc[2][h]);
      acc[3][h] = hn::MulAdd(k3, qv, acc[3][h]);
    }
  }
#if HWY_TARGET == HWY_SCALAR
  for (int r = 0; r < kRowBlock; ++r) hn::Store(acc[r][0], d, sums + r);
#else
  hn::Store(SumBlocks(FoldHeads<kHeads>(acc[0]), FoldHeads<kHeads>(acc[1]), FoldHeads<kHeads>(acc[2]),
                      FoldHeads<kHeads>(acc[3])),
            d, sums);
#endif
}

// `next` (or null) is memory of the same size that is needed soon: each block of rows asks for its share of it.
HWY_INLINE void PrefetchShare(const std::byte* next, int64_t from_bytes, int64_t n_bytes) {
  if (next == nullptr) return;
  for (int64_t at = from_bytes; at < from_bytes + n_bytes; at += 64) hwy::Prefetch(next + at);
}

template <int kHeads, bool kShort, typename T>
void DotRowsOfGroup(const RowCut& cut, const T* rows, int64_t n_rows, const float* q, float* out, int64_t out_stride,
                    const std::byte* next) {
  HWY_ALIGN float sums[kHeadGroup * kRowBlock];
  for (int64_t r = 0; r < n_rows; r += kRowBlock) {
    const int64_t n = std::min<int64_t>(kRowBlock, n_rows - r);
    const T* row[kRowBlock];
    for (int i = 0; i < kRowBlock; ++i) row[i] = rows + (r + std::min<int64_t>(i, n - 1)) * cut.stride;
    PrefetchShare(next, r * cut.length * sizeof(T), n * cut.length * sizeof(T));
    DotBlock<kHeads, kShort>(cut, row, q, sums);
    for (int h = 0; h < kHeads; ++h) {
      if (n == kRowBlock) {
        std::memcpy(out + h * out_stride + r, sums + h * kRowBlock, kRowBlock * sizeof(float));
      } else {
        std::memcpy(out + h * out_stride + r, sums + h * kRowBlock, n * sizeof(float));
      }
    }
  }
}

template <bool kShort, typename T>
void DotRowsOf(const RowCut& cut, const T* rows, int64_t n_rows, const float* q, int n_heads, float* out,
               int64_t out_stride, const std::byte* next) {
  while (n_heads > 0) {
    const int heads = std::min(n_heads, kHeadGroup);
    if (heads == 1) DotRowsOfGroup<1, kShort>(cut, rows, n_rows, q, out, out_stride, next);
    if constexpr (kHeadGroup >= 2) {
      if (heads == 2) DotRowsOfGroup<2, kShort>(cut, rows, n_rows, q, out, out_stride, next);
    }
    if constexpr (kHeadGroup >= 4) {
      if (heads == 3) DotRowsOfGroup<3, kShort>(cut, rows, n_rows, q, out, out_stride, next);
      if (heads == 4) DotRowsOfGroup<4, kShort>(cut, rows, n_rows, q, out, out_stride, next);
    }
    n_heads -= heads;
    q += heads * cut.padded();
    out += heads * out_stride;
    next = nullptr;
  }
}

// out[h * out_stride + r] = rows[r] . q[h] for rows [n_rows, cut.length], cut.stride apart, and q [n_heads,
// cut.padded()] as PackRow lays it out. A value's bits depend on its row and query only.
template <typename T>
void DotRows(const RowCut& cut, const T* rows, int64_t n_rows, const float* q, int n_heads, float* out,
             int64_t out_stride, const std::byte* next) {
  if (cut.is_short()) {
    DotRowsOf<true>(cut, rows, n_rows, q, n_heads, out, out_stride, next);
  } else {
    DotRowsOf<false>(cut, rows, n_rows, q, n_heads, out, out_stride, next);
  }
}

// Vectors `first`.. of the sums of kHeads heads: one chain of FMAs over the rows for every element.
template <int kHeads, int kVecs, bool kShort, typename T>
HWY_INLINE void SumTile(const RowCut& cut, int64_t first, const T* rows, int64_t n_rows, const float* weights,
                        int64_t weights_stride, float* acc, const std::byte* next) {
  const DF d;
  VF sum[kHeads][kVecs];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) sum[h][v] = hn::LoadU(d, acc + h * cut.padded() + (first + v) * kN);
  }
  // Only a tile of one vector may hold the overlapping last vector.
  const int64_t at = cut.offset(first);
  const int64_t row_bytes = cut.length * static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < n_rows; ++r) {
    PrefetchShare(next, r * row_bytes, row_bytes);
    const T* row = rows + r * cut.length;
    VF x[kVecs];
    for (int v = 0; v < kVecs; ++v) x[v] = LoadPart<kShort>(row, at + v * kN, cut.length);
    for (int h = 0; h < kHeads; ++h) {
      const VF w = hn::Set(d, weights[h * weights_stride + r]);
      for (int v = 0; v < kVecs; ++v) sum[h][v] = hn::MulAdd(x[v], w, sum[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sum[h][v], d, acc + h * cut.padded() + (first + v) * kN);
  }
}

template <int kHeads, bool kShort, typename T>
void SumRowsOfGroup(const RowCut& cut, const T* rows, int64_t n_rows, const float* w, int64_t w_stride, float* acc,
                    const std::byte* next) {
  constexpr int kVecs = 4;
  const int64_t whole = cut.length / kN;
  int64_t v = 0;
  for (; v + kVecs <= whole; v += kVecs) {
    SumTile<kHeads, kVecs, kShort>(cut, v, rows, n_rows, w, w_stride, acc, v == 0 ? next : nullptr);
  }
  for (; v < cut.n_vec; ++v)
    SumTile<kHeads, 1, kShort>(cut, v, rows, n_rows, w, w_stride, acc, v == 0 ? next : nullptr);
}

template <bool kShort, typename T>
void SumRowsOf(const RowCut& cut, const T* rows, int64_t n_rows, const float* w, int64_t w_stride, int n_heads,
               float* acc, const std::byte* next) {
  while (n_heads > 0) {
    const int heads = std::min(n_heads, kHeadGroup);
    if (heads == 1) SumRowsOfGroup<1, kShort>(cut, rows, n_rows, w, w_stride, acc, next);
    if constexpr (kHeadGroup >= 2) {
      if (heads == 2) SumRowsOfGroup<2, kShort>(cut, rows, n_rows, w, w_stride, acc, next);
    }
    if constexpr (kHeadGroup >= 4) {
      if (heads == 3) SumRowsOfGroup<3, kShort>(cut, rows, n_rows, w, w_stride, acc, next);
      if (heads == 4) SumRowsOfGroup<4, kShort>(cut, rows, n_rows, w, w_stride, acc, next);
    }
    n_heads -= heads;
    w += heads * w_stride;
    acc += heads * cut.padded();
    next = nullptr;
  }
}

// acc[h] += sum_r w[h * w_stride + r] * rows[r], acc [n_heads, cut.padded()] in RowCut's layout (lanes of the last
// vector that overlap hold their sums twice).
template <typename T>
void SumRows(const RowCut& cut, const T* rows, int64_t n_rows, const float* w, int64_t w_stride, int n_heads,
             float* acc, const std::byte* next) {
  if (cut.is_short()) {
    SumRowsOf<true>(cut, rows, n_rows, w, w_stride, n_heads, acc, next);
  } else {
    SumRowsOf<false>(cut, rows, n_rows, w, w_stride, n_heads, acc, next);
  }
}

// dst[0..length) = factor * src, src in RowCut's layout.
inline void UnpackRow(const RowCut& cut, const float* src, float factor, float* dst) {
  const int64_t whole = cut.length / kN * kN;
  for (int64_t t = 0; t < whole; ++t) dst[t] = factor * src[t];
  for (int64_t t = whole; t < cut.length; ++t) dst[t] = factor * src[whole + t - cut.last];
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
