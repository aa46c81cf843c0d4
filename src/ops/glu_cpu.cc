#include <cstring>

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/glu_cpu.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

#include "ops/cpu_kernels.h"
#include "ops/row_strips.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Both activations are x * sigmoid(z): silu with z = x, gelu with z = 2 sqrt(2/pi) (x + 0.044715 x^3), because
// 0.5 (1 + tanh(u)) = sigmoid(2u).
template <GluKind kKind, class D, class V>
HWY_INLINE V GatedProduct(D d, V x, V up) {
  V z = x;
  if constexpr (kKind == GluKind::kGelu) {
    const V cubic = hn::Mul(hn::Mul(x, x), hn::Set(d, 0.044715f * 1.5957691216f));
    z = hn::Mul(x, hn::Add(cubic, hn::Set(d, 1.5957691216f)));
  }
  // At the limits the sigmoid is 1 in f32, or so small that the activation is taken as 0: denormal results would cost
  // more than all else here.
  const V limit = hn::Set(d, 80.0f);
  const V limited = hn::Min(hn::Max(hn::Neg(z), hn::Neg(limit)), limit);
  const V activation = hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, limited)));
  return hn::Mul(hn::IfThenElse(hn::Lt(z, hn::Neg(limit)), hn::Zero(d), activation), up);
}

template <GluKind kKind>
HWY_INLINE void GluRowOf(const float* gate, const float* up, int64_t n, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(GatedProduct<kKind>(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN float g[HWY_MAX_BYTES / sizeof(float)] = {}, u[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(g, gate + i, (n - i) * sizeof(float));
  std::memcpy(u, up + i, (n - i) * sizeof(float));
  hn::Store(GatedProduct<kKind>(d, hn::Load(d, g), hn::Load(d, u)), d, g);
  std::memcpy(out + i, g, (n - i) * sizeof(float));
}

void GluRow(GluKind kind, const float* gate, const float* up, int64_t n, float* out) {
  if (kind == GluKind::kSilu) {
    GluRowOf<GluKind::kSilu>(gate, up, n, out);
  } else {
    GluRowOf<GluKind::kGelu>(gate, up, n, out);
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {

HWY_EXPORT(GluRow);

Status Glu(const OpContext& ctx, GluKind kind, const MatrixView& gate, const MatrixView& up, const MatrixView& out) {
  constexpr int64_t kCost = 4;  // an exp and a division against the one product that a unit of work stands for
  ForRowStrips(ctx, gate.rows, gate.cols * kCost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(GluRow)(kind, gate.row(i), up.row(i), gate.cols, out.row(i));
    }
  });
  return OkStatus();
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
