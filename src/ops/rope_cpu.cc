#include <algorithm>
#include <cmath>

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rope_cpu.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#include "ops/cpu_kernels.h"
#include "ops/row_strips.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rotates `pairs` pairs of one head by (cos, sin) pairs.
void RotateNorm(const float* HWY_RESTRICT angles, int64_t pairs, float* HWY_RESTRICT x) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  using V = hn::Vec<decltype(d)>;
  for (; i + lanes <= pairs; i += lanes) {
    V c, s, a, b;
    hn::LoadInterleaved2(d, angles + 2 * i, c, s);
    hn::LoadInterleaved2(d, x + 2 * i, a, b);
    hn::StoreInterleaved2(hn::NegMulAdd(b, s, hn::Mul(a, c)), hn::MulAdd(a, s, hn::Mul(b, c)), d, x + 2 * i);
  }
#endif
  for (; i < pairs; ++i) {
    const float c = angles[2 * i], s = angles[2 * i + 1], a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * c - b * s;
    x[2 * i + 1] = a * s + b * c;
  }
}

void RotateNeox(const float* HWY_RESTRICT angles, int64_t pairs, float* HWY_RESTRICT x) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  using V = hn::Vec<decltype(d)>;
  for (; i + lanes <= pairs; i += lanes) {
    V c, s;
    hn::LoadInterleaved2(d, angles + 2 * i, c, s);
    const V a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + pairs + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, x + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, x + pairs + i);
  }
#endif
  for (; i < pairs; ++i) {
    const float c = angles[2 * i], s = angles[2 * i + 1], a = x[i], b = x[pairs + i];
    x[i] = a * c - b * s;
    x[pairs + i] = a * s + b * c;
  }
}

void RopeRow(RopeKind kind, int n_rot, int head_dim, const float* angles, int64_t n, float* x) {
  for (int64_t head = 0; head < n; head += head_dim) {
    if (kind == RopeKind::kNorm) {
      RotateNorm(angles, n_rot / 2, x + head);
    } else {
      RotateNeox(angles, n_rot / 2, x + head);
    }
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {

HWY_EXPORT(RopeRow);

Status RopeAngles(const OpContext& ctx, const RopeParams& params, std::span<const int64_t> positions,
                  const MatrixView& out) {
  const int pairs = params.n_rot / 2;
  auto* frequency = static_cast<double*>(ctx.workspace->Shared(0, pairs * sizeof(double)));
  for (int j = 0; j < pairs; ++j) {
    const double factor = params.freq_factors != nullptr ? params.freq_factors[j] : 1.0;
    double scale = params.freq_scale;
    if (params.yarn) {
      const double width = std::max(0.001, double{params.ramp_high} - params.ramp_low);
      const double scaled = std::clamp((j - params.ramp_low) / width, 0.0, 1.0);
      scale = scale * scaled + (1.0 - scaled);
    }
    frequency[j] = scale * std::pow(double{params.freq_base}, -2.0 * j / params.n_rot) / factor;
  }
  constexpr int64_t kCost = 32;  // a sine and a cosine in f64
  ForRowStrips(ctx, out.rows, out.cols * kCost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = out.row(i);
      for (int j = 0; j < pairs; ++j) {
        const double angle = static_cast<double>(positions[i]) * frequency[j];
        row[2 * j] = static_cast<float>(params.magnitude * std::cos(angle));
        row[2 * j + 1] = static_cast<float>(params.magnitude * std::sin(angle));
      }
    }
  });
  return OkStatus();
}

Status Rope(const OpContext& ctx, RopeKind kind, int n_rot, int head_dim, const MatrixView& angles,
            const MatrixView& x) {
  ForRowStrips(ctx, x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(RopeRow)(kind, n_rot, head_dim, angles.row(i), x.cols, x.row(i));
    }
  });
  return OkStatus();
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
