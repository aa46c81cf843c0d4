// SIMD kernels of prefill attention: a register-blocked product in which every element is one chain of FMAs in a fixed
// order, transposition of K rows, and one step of the online softmax. Compiled once per target.

#if defined(ARKVALE_OPS_TILE_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_TILE_KERNELS_INL_H_
#undef ARKVALE_OPS_TILE_KERNELS_INL_H_
#else
#define ARKVALE_OPS_TILE_KERNELS_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "ops/row_kernels_inl.h"
#include "ops/transpose_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// A block of C held in registers: 6 rows of 4 vectors of 32 registers, or 6 of 2 of 16.
constexpr int kTileRows = 6;
constexpr int kTileVecs = kN == 16 ? 4 : 2;
constexpr int64_t kPanel = kTileVecs * kN;
static_assert(64 % kPanel == 0);

// C [kRows, kVecs * kN] = C0 + A [kRows, k] B [k, kVecs * kN], summed over k in increasing order.
//   C0 = 0, or C when `add`, or row_scale[r] * C when that is given.
template <int kVecs, int kRows = kTileRows>
HWY_INLINE void TileProduct(const float* a, int64_t lda, const float* b, int64_t k, float* c, int64_t ldc, bool add,
                            const float* row_scale) {
  const DF d;
  VF sum[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sum[r][v] = add ? hn::LoadU(d, c + r * ldc + v * kN) : hn::Zero(d);
  }
  if (row_scale != nullptr) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::Mul(sum[r][v], hn::Set(d, row_scale[r]));
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    VF x[kVecs];
    for (int v = 0; v < kVecs; ++v) x[v] = hn::LoadU(d, b + (i * kVecs + v) * kN);
    for (int r = 0; r < kRows; ++r) {
      const VF w = hn::Set(d, a[r * lda + i]);
      for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(w, x[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) hn::StoreU(sum[r][v], d, c + r * ldc + v * kN);
  }
}

// As above for n_rows rows, a multiple of 6, and a panel of `vecs` vectors.
inline void PanelProduct(int64_t n_rows, int64_t vecs, const float* a, int64_t lda, const float* b, int64_t k, float* c,
                         int64_t ldc, bool add, const float* row_scale) {
  for (int64_t r = 0; r < n_rows; r += kTileRows, a += kTileRows * lda, c += kTileRows * ldc) {
    const float* scale = row_scale == nullptr ? nullptr : row_scale + r;
    if (vecs == kTileVecs) {
      TileProduct<kTileVecs>(a, lda, b, k, c, ldc, add, scale);
    } else if (vecs == 1) {
      TileProduct<1>(a, lda, b, k, c, ldc, add, scale);
    } else if (vecs == 2) {
      TileProduct<2>(a, lda, b, k, c, ldc, add, scale);
    } else {
      TileProduct<3>(a, lda, b, k, c, ldc, add, scale);
    }
  }
}

// K is walked in pieces of this many dimensions, so that a piece of a panel stays in L1.
constexpr int64_t kDimPiece = 128;

// As PanelProduct for fewer than 6 rows and a whole panel.
template <int kRows = kTileRows - 1>
HWY_INLINE void FewRowsProduct(int64_t n_rows, const float* a, int64_t lda, const float* b, int64_t k, float* c,
                               int64_t ldc, bool add) {
  if constexpr (kRows > 0) {
    if (n_rows == kRows) return TileProduct<kTileVecs, kRows>(a, lda, b, k, c, ldc, add, nullptr);
    FewRowsProduct<kRows - 1>(n_rows, a, lda, b, k, c, ldc, add);
  }
}

// products [n_rows, 64] = queries [n_rows, d] times a unit's K in panels (TransposeRows). A product's bits depend on
// its query and key only.
inline void UnitProducts(int64_t n_rows, const float* queries, int64_t d, const float* panels, float* products) {
  const int64_t whole = n_rows / kTileRows * kTileRows;
  for (int64_t column = 0; column < 64; column += kPanel) {
    const float* panel = panels + column * d;
    for (int64_t t = 0; t < d; t += kDimPiece) {
      const float* piece = panel + t * kPanel;
      const int64_t n = std::min(kDimPiece, d - t);
      PanelProduct(whole, kTileVecs, queries + t, d, piece, n, products + column, 64, t > 0, nullptr);
      FewRowsProduct(n_rows - whole, queries + whole * d + t, d, piece, n, products + whole * 64 + column, 64, t > 0);
    }
  }
}

// K of a unit as panels [64 / kPanel][d][kPanel] of f32, from 64 rows of d elements. Meanwhile asks for as many rows at
// `next`, if that is not null.
template <bool kShort, typename T>
void TransposeRows(const RowCut& cut, const T* const* rows, float* panels, const T* const* next = nullptr) {
  const DF df;
  constexpr int64_t kPart = kN * static_cast<int64_t>(sizeof(T));  // bytes of a row that a vector takes
  for (int64_t token = 0; token < 64; token += kN) {
    float* panel = panels + token / kPanel * kPanel * cut.length + token % kPanel;
    for (int64_t i = 0; i < cut.n_vec; ++i) {
      const int64_t at = cut.offset(i);
      VF x[kN];
      for (int64_t r = 0; r < kN; ++r) x[r] = LoadPart<kShort>(rows[token + r], at, cut.length);
      if (next != nullptr && i * kPart % 64 < kPart) {
        for (int64_t r = 0; r < kN; ++r) hwy::Prefetch(next[token + r] + at);
      }
      Transpose(df, x);
      const int64_t n = std::min(kN, cut.length - at);
      for (int64_t t = 0; t < n; ++t) hn::StoreU(x[t], df, panel + (at + t) * kPanel);
    }
  }
}

// V of a unit as panels of up to kTileVecs vectors, each [64][vectors * kN], from 64 rows. Vectors as RowCut cuts.
template <bool kShort, typename T>
void PackRows(const RowCut& cut, const T* const* rows, float* panels) {
  const DF df;
  for (int64_t first = 0; first < cut.n_vec; first += kTileVecs) {
    const int64_t vecs = std::min<int64_t>(kTileVecs, cut.n_vec - first);
    float* panel = panels + first * kN * 64;
    for (int64_t token = 0; token < 64; ++token) {
      for (int64_t v = 0; v < vecs; ++v) {
        hn::StoreU(LoadPart<kShort>(rows[token], cut.offset(first + v), cut.length), df,
                   panel + (token * vecs + v) * kN);
      }
    }
  }
}

// One row's step of the online softmax over a unit's 64 products, of which bit j of `visible` tells which count:
// products become weights exp(score - new max), a score being scale * product, or with kCapped
// softcap * tanh(scale * product / softcap). `max` is the largest score so far, sums [kN] the sums of
// weights per lane. Returns the factor that older sums of weighted values need. No visible token changes nothing.
template <bool kCapped>
HWY_INLINE float SoftmaxStep(float* products, float scale, float softcap, uint64_t visible, float* max, float* sums) {
  const DF d;
  if (visible == 0) {
    for (int64_t i = 0; i < 64; i += kN) hn::StoreU(hn::Zero(d), d, products + i);
    return 1.0f;
  }
  const VF factor = hn::Set(d, scale), lowest = hn::Set(d, -1e30f);
  VF s[64 / kN], top = lowest;
  for (int64_t i = 0; i < 64 / kN; ++i) s[i] = hn::Mul(factor, hn::LoadU(d, products + i * kN));
  if constexpr (kCapped) {
    const VF up = hn::Set(d, softcap), down = hn::Set(d, 1.0f / softcap);
    for (int64_t i = 0; i < 64 / kN; ++i) s[i] = hn::Mul(up, hn::Tanh(d, hn::Mul(down, s[i])));
  }
  if (~visible != 0) {
    for (int64_t i = 0; i < 64 / kN; ++i) {
      const uint64_t bits = visible >> (i * kN);
      HWY_ALIGN uint8_t bytes[8];
      std::memcpy(bytes, &bits, sizeof(bits));
      s[i] = hn::IfThenElse(hn::LoadMaskBits(d, bytes), s[i], hn::Set(d, -std::numeric_limits<float>::infinity()));
    }
  }
  for (int64_t i = 0; i < 64 / kN; ++i) top = hn::Max(top, s[i]);
  const float new_max = std::max(*max, hn::GetLane(hn::MaxOfLanes(d, top)));
  const float older = *max == new_max ? 1.0f : std::exp(*max - new_max);
  *max = new_max;
  VF sum = hn::Mul(hn::LoadU(d, sums), hn::Set(d, older));
  const VF shift = hn::Set(d, new_max);
  for (int64_t i = 0; i < 64 / kN; ++i) {
    const VF e = hn::Exp(d, hn::Sub(s[i], shift));
    hn::StoreU(e, d, products + i * kN);
    sum = hn::Add(sum, e);
  }
  hn::StoreU(sum, d, sums);
  return older;
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
