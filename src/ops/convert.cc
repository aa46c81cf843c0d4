#include "ops/convert.h"

#include <cstring>

#include "base/check.h"
#include "base/f16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/convert.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void F32ToF16Row(const float* src, f16_t* dst, int64_t n) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<hwy::float16_t, decltype(df)> dh;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::DemoteTo(dh, hn::LoadU(df, src + i)), dh, reinterpret_cast<hwy::float16_t*>(dst + i));
  }
  const hn::CappedTag<float, 1> d1;
  const hn::Rebind<hwy::float16_t, decltype(d1)> h1;
  for (; i < n; ++i) {
    hn::StoreU(hn::DemoteTo(h1, hn::LoadU(d1, src + i)), h1, reinterpret_cast<hwy::float16_t*>(dst + i));
  }
}

// Of a block: max |x|, or NaN where an x is NaN or infinite.
HWY_INLINE float LargestMagnitude(const float* src) {
  const hn::CappedTag<float, 16> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  auto largest = hn::Zero(df), poison = hn::Zero(df);
  for (int64_t i = 0; i < kQuantBlock; i += lanes) {
    const auto x = hn::LoadU(df, src + i);
    largest = hn::Max(largest, hn::Abs(x));
    poison = hn::MulAdd(hn::Zero(df), x, poison);  // 0, or NaN for good
  }
  const float bad = hn::GetLane(hn::SumOfLanes(df, poison));
  return bad == 0 ? hn::GetLane(hn::MaxOfLanes(df, largest)) : bad;
}

// The first x of a block with |x| = magnitude; NaN for NaN.
HWY_INLINE float FirstOfMagnitude(const float* src, float magnitude) {
  const hn::CappedTag<float, 16> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  for (int64_t i = 0; i < kQuantBlock; i += lanes) {
    const auto at = hn::FindFirstTrue(df, hn::Eq(hn::Abs(hn::LoadU(df, src + i)), hn::Set(df, magnitude)));
    if (at >= 0) return src[i + at];
  }
  return magnitude;
}

// Writes a block's codes and returns its scale.
HWY_INLINE float QuantiseBlock(const float* src, q8_t* codes) {
  const hn::CappedTag<float, 16> df;
  const hn::Rebind<int8_t, decltype(df)> di8;
  const float d = LargestMagnitude(src) / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
  for (int64_t i = 0; i < kQuantBlock; i += static_cast<int64_t>(hn::Lanes(df))) {
    const auto x = hn::Mul(hn::LoadU(df, src + i), hn::Set(df, inverse));
    const auto rounded = hn::IfThenElseZero(hn::Eq(x, x), hn::Round(x));
    hn::StoreU(hn::DemoteTo(di8, hn::ConvertTo(hn::RebindToSigned<decltype(df)>(), rounded)), di8,
               reinterpret_cast<int8_t*>(codes + i));
  }
  return d;
}
HWY_INLINE float QuantiseBlock(const float* src, q4_t* codes) {
  const hn::CappedTag<float, 16> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<uint8_t, decltype(df)> du8;
  const float d = FirstOfMagnitude(src, LargestMagnitude(src)) / -8.0f, inverse = d < 0 || d > 0 ? 1.0f / d : 0.0f;
  const auto code = [&](const float* at) HWY_ATTR {
    const auto x = hn::Mul(hn::LoadU(df, at), hn::Set(df, inverse));
    // The product is rounded before the sum: what stands between them keeps compilers from fusing the two.
    const auto inside = hn::Clamp(hn::IfThenElseZero(hn::Eq(x, x), x), hn::Set(df, -8.0f), hn::Set(df, 7.0f));
    return hn::ConvertTo(di, hn::Add(inside, hn::Set(df, 8.5f)));
  };
  for (int64_t i = 0; i < kQuantBlock / 2; i += static_cast<int64_t>(hn::Lanes(df))) {
    const auto both = hn::Or(code(src + i), hn::ShiftLeft<4>(code(src + kQuantBlock / 2 + i)));
    hn::StoreU(hn::DemoteTo(du8, both), du8, reinterpret_cast<uint8_t*>(codes + i));
  }
  return d;
}

template <QuantisedRow Q>
void QuantiseRow(const float* src, Q* dst, int64_t n) {
  Q* scale = dst + CodeBytes<Q>(n);  // at any byte
  for (int64_t i = 0; i < n; i += kQuantBlock, scale += sizeof(f16_t)) {
    const f16_t d = F32ToF16(QuantiseBlock(src + i, dst + CodeBytes<Q>(i)));
    std::memcpy(scale, &d, sizeof(d));
  }
}
void F32ToQ8Row(const float* src, q8_t* dst, int64_t n) { QuantiseRow(src, dst, n); }
void F32ToQ4Row(const float* src, q4_t* dst, int64_t n) { QuantiseRow(src, dst, n); }

}  // namespace arkvale::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {

HWY_EXPORT(F32ToF16Row);

void ConvertF32ToF16(const float* src, f16_t* dst, int64_t n) { HWY_DYNAMIC_DISPATCH(F32ToF16Row)(src, dst, n); }

HWY_EXPORT(F32ToQ8Row);

void ConvertF32ToQ8(const float* src, q8_t* dst, int64_t n) { HWY_DYNAMIC_DISPATCH(F32ToQ8Row)(src, dst, n); }

HWY_EXPORT(F32ToQ4Row);

void ConvertF32ToQ4(const float* src, q4_t* dst, int64_t n) { HWY_DYNAMIC_DISPATCH(F32ToQ4Row)(src, dst, n); }

void ConvertRow(DType type, const float* src, std::byte* dst, int64_t n) {
  if (type == DType::kQ8) return ConvertF32ToQ8(src, reinterpret_cast<q8_t*>(dst), n);
  if (type == DType::kQ4) return ConvertF32ToQ4(src, reinterpret_cast<q4_t*>(dst), n);
  ARKVALE_CHECK(type == DType::kF16);
  ConvertF32ToF16(src, reinterpret_cast<f16_t*>(dst), n);
}

}  // namespace arkvale
#endif
