// SIMD kernels of ops that look at the softmax of scores, not at values: products of packed queries with a unit of
// 64 keys are made by tile_kernels_inl.h; these turn them into shares and add those up. Compiled once per target.

#if defined(ARKVALE_OPS_KEY_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_KEY_TILES_INL_H_
#undef ARKVALE_OPS_KEY_TILES_INL_H_
#else
#define ARKVALE_OPS_KEY_TILES_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "ops/key_units.h"
#include "ops/tile_kernels_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// The keys of a unit as panels of f32 (TransposeRows). `next` is the unit that is needed after it, or null.
template <typename T>
void TransposeKeys(const KeyUnit<T>& unit, int64_t head_dim, float* panels, const KeyUnit<T>* next) {
  const RowCut cut(head_dim);
  const T* const* const next_keys = next == nullptr || next->listed == 0 ? nullptr : next->k;
  if (cut.is_short()) {
    TransposeRows<true>(cut, unit.k, panels, next_keys);
  } else {
    TransposeRows<false>(cut, unit.k, panels, next_keys);
  }
}

// What scores are made of, and what shares are made of scores.
struct ShareRule {
  float scale, softcap;  // softcap 0: none
  float factor;          // of the sum over heads
};

// sums[j] += factor * sum over heads of exp(score - shift), query after query, each rounded, for the 64 keys of a
// unit. Query i has n_heads rows of products [n, 64] and of shifts [n] and sees the first visible[i] keys.
template <bool kCapped>
void AddSharesOf(const ShareRule& rule, const float* products, const float* shifts, const int32_t* visible,
                 int64_t n_queries, int64_t n_heads, float* sums) {
  const DF d;
  const VF scale = hn::Set(d, rule.scale), factor = hn::Set(d, rule.factor);
  const VF up = hn::Set(d, rule.softcap), down = hn::Set(d, kCapped ? rule.scale / rule.softcap : 0.0f);
  for (int64_t column = 0; column < kUnitKeys; column += kN) {
    const VF index = hn::Iota(d, static_cast<float>(column));
    VF total = hn::LoadU(d, sums + column);
    const float* p = products + column;
    const float* shift = shifts;
    for (int64_t i = 0; i < n_queries; ++i) {
      VF share = hn::Zero(d);
      for (int64_t h = 0; h < n_heads; ++h, p += kUnitKeys, ++shift) {
        VF x = hn::LoadU(d, p);
        if constexpr (kCapped) x = hn::Tanh(d, hn::Mul(down, x));
        share = hn::Add(share, hn::Exp(d, hn::MulSub(kCapped ? up : scale, x, hn::Set(d, *shift))));
      }
      const VF limit = hn::Set(d, static_cast<float>(visible[i]));
      total = hn::Add(total, hn::IfThenElseZero(hn::Lt(index, limit), hn::Mul(factor, share)));
    }
    hn::StoreU(total, d, sums + column);
  }
}

inline void AddShares(const ShareRule& rule, const float* products, const float* shifts, const int32_t* visible,
                      int64_t n_queries, int64_t n_heads, float* sums) {
  if (rule.softcap > 0) {
    AddSharesOf<true>(rule, products, shifts, visible, n_queries, n_heads, sums);
  } else {
    AddSharesOf<false>(rule, products, shifts, visible, n_queries, n_heads, sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
