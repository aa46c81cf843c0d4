#include <algorithm>
#include <cmath>

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rms_norm_cpu.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#include "ops/cpu_kernels.h"
#include "ops/row_strips.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float SumOfSquares(const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto u = hn::LoadU(d, x + i), v = hn::LoadU(d, x + i + lanes);
    a = hn::MulAdd(u, u, a);
    b = hn::MulAdd(v, v, b);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
  for (; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

// One row; x and out may be the same.
void RmsNormRow(const float* x, const float* weight, float eps, int64_t n, float* out, bool add) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const float scale = 1.0f / std::sqrt(SumOfSquares(x, n) / static_cast<float>(n) + eps);
  const auto scales = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto y = hn::Mul(hn::Mul(hn::LoadU(d, x + i), scales), hn::LoadU(d, weight + i));
    hn::StoreU(add ? hn::Add(hn::LoadU(d, out + i), y) : y, d, out + i);
  }
  for (; i < n; ++i) {
    const float y = x[i] * scale * weight[i];
    out[i] = add ? out[i] + y : y;
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {

HWY_EXPORT(RmsNormRow);

Status RmsNorm(const OpContext& ctx, const MatrixView& x, const float* weight, float eps, const MatrixView& out,
               bool add) {
  ForRowStrips(ctx, x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(RmsNormRow)(x.row(i), weight, eps, x.cols, out.row(i), add);
    }
  });
  return OkStatus();
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
