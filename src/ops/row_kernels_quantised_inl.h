// Dot products with quantised rows, and weighted sums of them: overloads of what row_kernels_inl.h has for other types.

#if defined(ARKVALE_OPS_ROW_KERNELS_QUANTISED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_ROW_KERNELS_QUANTISED_INL_H_
#undef ARKVALE_OPS_ROW_KERNELS_QUANTISED_INL_H_
#else
#define ARKVALE_OPS_ROW_KERNELS_QUANTISED_INL_H_
#endif

#include "ops/row_loads_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// Scales of rows that are turned to f32 at once, those of 4 rows of the largest head dim at least.
constexpr int64_t kScales = 512;
static_assert(kQuantBlock % kN == 0 && kScales == kRowBlock * kQuantMaxRow / kQuantBlock);

// sums[4 * h + r] = row r . (packed query h) for rows at p, p + step1, .. of n_blocks blocks with scales [4, n_blocks].
template <int kHeads, QuantisedRow Q>
HWY_INLINE void DotBlock(const Q* const p, int64_t step1, int64_t step2, int64_t step3, int64_t n_blocks,
                         const float* scales, const float* q, float* sums) {
  const DF d;
  constexpr int64_t kVecs = kQuantBlock / kN;
  const int64_t length = n_blocks * kQuantBlock;
  VF acc[kRowBlock][kHeads];
  for (int r = 0; r < kRowBlock; ++r) {
    for (int h = 0; h < kHeads; ++h) acc[r][h] = hn::Zero(d);
  }
  for (int64_t b = 0; b < n_blocks; ++b) {
    const Q* const block = p + CodeBytes<Q>(b * kQuantBlock);
    const float* const scale = scales + b;
    for (int64_t v = 0; v < kVecs; ++v) {
      const int64_t at = b * kQuantBlock + v * kN;
      const VF k0 = LoadBlockPart(block, v * kN, scale[0]), k1 = LoadBlockPart(block + step1, v * kN, scale[n_blocks]),
               k2 = LoadBlockPart(block + step2, v * kN, scale[2 * n_blocks]),
               k3 = LoadBlockPart(block + step3, v * kN, scale[3 * n_blocks]);
      for (int h = 0; h < kHeads; ++h) {
        const VF qv = hn::LoadU(d, q + h * length + at);
        acc[0][h] = hn::MulAdd(k0, qv, acc[0][h]);
        acc[1][h] = hn::MulAdd(k1, qv, acc[1][h]);
        acc[2][h] = hn::MulAdd(k2, qv, acc[2][h]);
        acc[3][h] = hn::MulAdd(k3, qv, acc[3][h]);
      }
    }
  }
  StoreSums(FoldHeads<kHeads>(acc[0]), FoldHeads<kHeads>(acc[1]), FoldHeads<kHeads>(acc[2]), FoldHeads<kHeads>(acc[3]),
            sums);
}

// Scales of n_rows rows of n_blocks blocks to out [n_rows, n_blocks].
template <QuantisedRow Q>
HWY_INLINE void LoadRowScales(const RowCut& cut, const Q* rows, int64_t n_rows, int64_t n_blocks, float* out) {
  for (int64_t r = 0; r < n_rows; ++r) LoadScales(rows + r * cut.stride, cut.length, 0, n_blocks, out + r * n_blocks);
}

// DotRowsOfGroup for n_rows * n_blocks <= kScales; a constant n_blocks unrolls the rows.
template <int kHeads, QuantisedRow Q>
HWY_INLINE void DotChunk(const RowCut& cut, const Q* rows, int64_t n_rows, int64_t n_blocks, const float* q, float* out,
                         int64_t out_stride, const std::byte* next) {
  HWY_ALIGN float scales[kScales];
  HWY_ALIGN float sums[kHeadGroup * kRowBlock];
  const int64_t stride = RowStride<Q>(n_blocks * kQuantBlock);
  LoadRowScales(cut, rows, n_rows, n_blocks, scales);
  for (int64_t i = n_rows * n_blocks; i < (n_rows + kRowBlock - 1) / kRowBlock * kRowBlock * n_blocks; ++i)
    scales[i] = 0;
  for (int64_t r = 0; r < n_rows; r += kRowBlock) {
    const int64_t n = std::min<int64_t>(kRowBlock, n_rows - r);
    PrefetchShare(next, r * stride, n * stride);
    if (HWY_LIKELY(n == kRowBlock)) {
      DotBlock<kHeads>(rows + r * stride, stride, 2 * stride, 3 * stride, n_blocks, scales + r * n_blocks, q, sums);
      for (int h = 0; h < kHeads; ++h)
        std::memcpy(out + h * out_stride + r, sums + h * kRowBlock, kRowBlock * sizeof(float));
    } else {
      DotBlock<kHeads>(rows + r * stride, std::min<int64_t>(1, n - 1) * stride, std::min<int64_t>(2, n - 1) * stride, 0,
                       n_blocks, scales + r * n_blocks, q, sums);
      for (int h = 0; h < kHeads; ++h) std::memcpy(out + h * out_stride + r, sums + h * kRowBlock, n * sizeof(float));
    }
  }
}

template <int kHeads, bool kShort, QuantisedRow Q>
void DotRowsOfGroup(const RowCut& cut, const Q* rows, int64_t n_rows, const float* q, float* out, int64_t out_stride,
                    const std::byte* next) {
  const int64_t n_blocks = cut.length / kQuantBlock, chunk = kScales / n_blocks / kRowBlock * kRowBlock;
  for (int64_t r = 0; r < n_rows; r += chunk) {
    const int64_t n = std::min(chunk, n_rows - r);
    const Q* const from = rows + r * cut.stride;
    const std::byte* const later = next == nullptr ? nullptr : next + r * cut.stride;
    if (n_blocks == 2) {
      DotChunk<kHeads>(cut, from, n, 2, q, out + r, out_stride, later);
    } else if (n_blocks == 4) {
      DotChunk<kHeads>(cut, from, n, 4, q, out + r, out_stride, later);
    } else {
      DotChunk<kHeads>(cut, from, n, n_blocks, q, out + r, out_stride, later);
    }
  }
}

template <int kHeads, int kVecs, bool kShort, QuantisedRow Q>
HWY_INLINE void SumTile(const RowCut& cut, int64_t first, const Q* rows, int64_t n_rows, const float* weights,
                        int64_t weights_stride, float* acc, const std::byte* next) {
  const DF d;
  VF sum[kHeads][kVecs];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) sum[h][v] = hn::LoadU(d, acc + h * cut.length + (first + v) * kN);
  }
  constexpr int64_t kBlocks = std::max<int64_t>(1, kVecs * kN / kQuantBlock);
  // Where a tile is whole blocks, what the loads do is known to the compiler.
  const int64_t at = first * kN, in_block = kVecs * kN % kQuantBlock == 0 ? 0 : at % kQuantBlock;
  for (int64_t r = 0; r < n_rows; ++r) {
    const int64_t line = (r * cut.stride + 63) / 64 * 64;  // the first that begins in this row: each once
    PrefetchShare(next, line, (r + 1) * cut.stride - line);
    const Q* row = rows + r * cut.stride;
    HWY_ALIGN float scales[kBlocks];
    LoadScales(row, cut.length, at / kQuantBlock, kBlocks, scales);
    const Q* const block = row + CodeBytes<Q>(at - in_block);
    VF x[kVecs];
    for (int v = 0; v < kVecs; ++v) x[v] = LoadBlockPart(block, in_block + v * kN, scales[v * kN / kQuantBlock]);
    for (int h = 0; h < kHeads; ++h) {
      const VF w = hn::Set(d, weights[h * weights_stride + r]);
      for (int v = 0; v < kVecs; ++v) sum[h][v] = hn::MulAdd(x[v], w, sum[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sum[h][v], d, acc + h * cut.length + (first + v) * kN);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
