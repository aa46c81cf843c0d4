#include "ops/fma_peak.h"

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/fma_peak.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Two FMAs a cycle of four or five cycles' latency want 10 chains; 12 with two operands fit 16 registers.
double RunFmas(int64_t loops) {
  constexpr int kChains = 12;
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  V sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = hn::Set(d, static_cast<float>(c));
  // x <- a x + b stays finite and away from denormal numbers.
  V a = hn::Set(d, 0.5f), b = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < loops; ++i) {
    for (V& sum : sums) sum = hn::MulAdd(sum, a, b);
  }
  float total = 0;
  for (const V& sum : sums) total += hn::GetLane(sum);
  const auto done = static_cast<double>(loops) * kChains * 2 * static_cast<double>(hn::Lanes(d));
  return total > 0 ? done : 0;  // the sums are used, or the loop could be left out
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
namespace cpu {
HWY_EXPORT(RunFmas);
}  // namespace cpu

double RunFmas(int64_t loops) { return HWY_DYNAMIC_DISPATCH(cpu::RunFmas)(loops); }

}  // namespace arkvale
#endif
