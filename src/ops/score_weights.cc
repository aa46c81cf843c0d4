#include "ops/score_weights.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/score_weights.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct Capping {
  float scale, softcap;
};

template <class D, class V>
HWY_INLINE V Score(D d, const Capping& c, V x) {
  const V scaled = hn::Mul(hn::Set(d, c.scale), x);
  V s = scaled;
  if (c.softcap > 0) {
    // Beyond 20 the tangent is +-1 in f32, and infinities would give NaN.
    const V share = hn::Clamp(hn::Div(s, hn::Set(d, c.softcap)), hn::Set(d, -20.0f), hn::Set(d, 20.0f));
    s = hn::Mul(hn::Set(d, c.softcap), hn::Tanh(d, share));
  }
  return hn::IfThenElse(hn::IsNaN(scaled), hn::Set(d, -std::numeric_limits<float>::infinity()), s);
}

template <class D, class V>
HWY_INLINE V Weight(D d, V score, V top) {
  return hn::IfThenElse(hn::Eq(score, top), hn::Set(d, 1.0f), hn::Exp(d, hn::Sub(score, top)));
}

ScoreWeights WeighRow(const float* x, int64_t n, float scale, float softcap, float* weights) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const Capping capping{scale, softcap};
  ScoreWeights result;
  auto top = hn::Set(d, result.top);
  auto top1 = hn::Set(d1, result.top);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto s = Score(d, capping, hn::LoadU(d, x + i));
    top = hn::Max(top, s);
    hn::StoreU(s, d, weights + i);
  }
  for (; i < n; ++i) {
    const auto s = Score(d1, capping, hn::LoadU(d1, x + i));
    top1 = hn::Max(top1, s);
    hn::StoreU(s, d1, weights + i);
  }
  result.top = HWY_MAX(hn::GetLane(hn::MaxOfLanes(d, top)), hn::GetLane(top1));
  if (result.top == -std::numeric_limits<float>::infinity()) {
    for (i = 0; i < n; ++i) weights[i] = 0;
    return result;
  }
  top = hn::Set(d, result.top);
  top1 = hn::Set(d1, result.top);
  auto sum = hn::Zero(d);
  for (i = 0; i + lanes <= n; i += lanes) {
    const auto w = Weight(d, hn::LoadU(d, weights + i), top);
    hn::StoreU(w, d, weights + i);
    sum = hn::Add(sum, w);
  }
  auto sum1 = hn::Zero(d1);
  for (; i < n; ++i) {
    const auto w = Weight(d1, hn::LoadU(d1, weights + i), top1);
    hn::StoreU(w, d1, weights + i);
    sum1 = hn::Add(sum1, w);
  }
  result.sum = double{hn::GetLane(hn::SumOfLanes(d, sum))} + hn::GetLane(sum1);
  return result;
}

}  // namespace arkvale::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {

HWY_EXPORT(WeighRow);

ScoreWeights WeighScores(std::span<const float> x, float scale, float softcap, std::span<float> weights) {
  return HWY_DYNAMIC_DISPATCH(WeighRow)(x.data(), static_cast<int64_t>(x.size()), scale, softcap, weights.data());
}

}  // namespace arkvale
#endif
