// SIMD kernels over rows: dot products of rows with a few queries, and weighted sums of rows. Paged attention and
// digest scores are made of them. Compiled once per target. How rows are read: row_loads_inl.h.

#if defined(ARKVALE_OPS_ROW_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_ROW_KERNELS_INL_H_
#undef ARKVALE_OPS_ROW_KERNELS_INL_H_
#else
#define ARKVALE_OPS_ROW_KERNELS_INL_H_
#endif

#include "ops/row_kernels_quantised_inl.h"
#include "ops/row_loads_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

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
  StoreSums(FoldHeads<kHeads>(acc[0]), FoldHeads<kHeads>(acc[1]), FoldHeads<kHeads>(acc[2]), FoldHeads<kHeads>(acc[3]),
            sums);
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

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
