// Softmax over a part of a query's tokens, and the joining of such parts. Compiled once per target (Highway's
// foreach_target).
//
// The partial of a part is [heads][2 + padded]: max of the scores, sum of exp(score - max), sum of exp(..) v in the
// layout of RowCut(head_dim_v).

#if defined(ARKVALE_OPS_ATTENTION_PARTIALS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_ATTENTION_PARTIALS_INL_H_
#undef ARKVALE_OPS_ATTENTION_PARTIALS_INL_H_
#else
#define ARKVALE_OPS_ATTENTION_PARTIALS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "ops/row_loads_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// scores -> exp(score - max) in place; the tail up to a whole vector becomes 0. Returns through max and sum.
inline void SoftmaxRow(float* scores, int64_t n, float* max, float* sum) {
  const DF d;
  const int64_t padded = (n + kN - 1) / kN * kN;
  std::fill(scores + n, scores + padded, -std::numeric_limits<float>::infinity());
  VF top = hn::LoadU(d, scores);
  for (int64_t i = kN; i < padded; i += kN) top = hn::Max(top, hn::LoadU(d, scores + i));
  top = hn::MaxOfLanes(d, top);
  VF total = hn::Zero(d);
  for (int64_t i = 0; i < padded; i += kN) {
    const VF e = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), top));
    hn::StoreU(e, d, scores + i);
    total = hn::Add(total, e);
  }
  *max = hn::GetLane(top);
  *sum = hn::GetLane(hn::SumOfLanes(d, total));
}

// scores -> cap * tanh(scores / cap); may write up to the end of the last vector.
inline void CapScores(float* scores, int64_t n, float cap) {
  const DF d;
  const VF up = hn::Set(d, cap), down = hn::Set(d, 1.0f / cap);
  for (int64_t i = 0; i < n; i += kN) {
    hn::StoreU(hn::Mul(up, hn::Tanh(d, hn::Mul(down, hn::LoadU(d, scores + i)))), d, scores + i);
  }
}

// Joins partials [n_parts] in order into out [heads, cut.length] and lse [heads] (or null); overwrites the first one.
inline void JoinPartials(const RowCut& cut, int64_t n_parts, int heads, float* partials, float* out, float* lse) {
  const int64_t head_stride = 2 + cut.padded(), part_stride = heads * head_stride;
  const DF d;
  for (int h = 0; h < heads; ++h) {
    float* first = partials + h * head_stride;
    float top = first[0];
    for (int64_t p = 1; p < n_parts; ++p) top = std::max(top, first[p * part_stride]);
    float sum = 0;
    float* acc = first + 2;
    for (int64_t p = 0; p < n_parts; ++p) {
      const float* part = first + p * part_stride;
      if (part[1] == 0) continue;
      const float weight = std::exp(part[0] - top);
      sum += weight * part[1];
      const VF w = hn::Set(d, weight);
      for (int64_t i = 0; i < cut.padded(); i += kN) {
        const VF x = hn::LoadU(d, part + 2 + i);
        hn::StoreU(p == 0 ? hn::Mul(w, x) : hn::MulAdd(w, x, hn::LoadU(d, acc + i)), d, acc + i);
      }
    }
    UnpackRow(cut, acc, sum == 0 ? 0.0f : 1.0f / sum, out + h * cut.length);
    if (lse != nullptr) lse[h] = sum == 0 ? -std::numeric_limits<float>::infinity() : top + std::log(sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
