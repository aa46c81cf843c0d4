// Transposition of square blocks of f32 in registers. Compiled once per target (Highway's foreach_target).

#if defined(ARKVALE_OPS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_TRANSPOSE_INL_H_
#undef ARKVALE_OPS_TRANSPOSE_INL_H_
#else
#define ARKVALE_OPS_TRANSPOSE_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x[i] (row i) -> x[i] (column i), lanes x lanes; 1, 4, 8 or 16 lanes.
template <class D>
HWY_INLINE void Transpose(D d, hn::Vec<D>* x) {
#if HWY_TARGET != HWY_SCALAR
  using V = hn::Vec<D>;
  constexpr int kLanes = hn::MaxLanes(D());
  static_assert(kLanes == 4 || kLanes == 8 || kLanes == 16);
  for (int g = 0; g < kLanes; g += 4) {  // 4 x 4 inside each 128-bit block
    const V a = hn::InterleaveLower(d, x[g], x[g + 2]), b = hn::InterleaveUpper(d, x[g], x[g + 2]);
    const V c = hn::InterleaveLower(d, x[g + 1], x[g + 3]), e = hn::InterleaveUpper(d, x[g + 1], x[g + 3]);
    x[g] = hn::InterleaveLower(d, a, c);
    x[g + 1] = hn::InterleaveUpper(d, a, c);
    x[g + 2] = hn::InterleaveLower(d, b, e);
    x[g + 3] = hn::InterleaveUpper(d, b, e);
  }
  if constexpr (kLanes == 8) {
    for (int i = 0; i < 4; ++i) {
      const V a = x[i], b = x[i + 4];
      x[i] = hn::ConcatLowerLower(d, b, a);
      x[i + 4] = hn::ConcatUpperUpper(d, b, a);
    }
  } else if constexpr (kLanes == 16) {
    for (int i = 0; i < 4; ++i) {  // blocks of a, b, c, e become a 4 x 4 transpose of blocks
      const V a = x[i], b = x[i + 4], c = x[i + 8], e = x[i + 12];
      const V a_c0 = hn::ConcatLowerLower(d, c, a), a_c1 = hn::ConcatUpperUpper(d, c, a);
      const V b_e0 = hn::ConcatLowerLower(d, e, b), b_e1 = hn::ConcatUpperUpper(d, e, b);
      x[i] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b_e0), a_c0);
      x[i + 4] = hn::OddEvenBlocks(b_e0, hn::SwapAdjacentBlocks(a_c0));
      x[i + 8] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b_e1), a_c1);
      x[i + 12] = hn::OddEvenBlocks(b_e1, hn::SwapAdjacentBlocks(a_c1));
    }
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
