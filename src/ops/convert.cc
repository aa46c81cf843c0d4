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

// One block; the scale at any byte.
void QuantiseBlock(const float* src, int8_t* values, q8_t* scale) {
  const hn::CappedTag<float, 16> df;
  const hn::Rebind<int8_t, decltype(df)> di8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  auto largest = hn::Zero(df), poison = hn::Zero(df);
  for (int64_t i = 0; i < kQ8Block; i += lanes) {
    const auto x = hn::LoadU(df, src + i);
    largest = hn::Max(largest, hn::Abs(x));
    poison = hn::MulAdd(hn::Zero(df), x, poison);  // 0, or NaN for good
  }
  const float amax = hn::GetLane(hn::MaxOfLanes(df, largest)), bad = hn::GetLane(hn::SumOfLanes(df, poison));
  const float d = bad == 0 ? amax / 127.0f : bad, inverse = d > 0 ? 1.0f / d : 0.0f;
  for (int64_t i = 0; i < kQ8Block; i += lanes) {
    const auto x = hn::Mul(hn::LoadU(df, src + i), hn::Set(df, inverse));
    const auto rounded = hn::IfThenElseZero(hn::Eq(x, x), hn::Round(x));
    hn::StoreU(hn::DemoteTo(di8, hn::ConvertTo(hn::RebindToSigned<decltype(df)>(), rounded)), di8, values + i);
  }
  const f16_t d_f16 = F32ToF16(d);
  std::memcpy(scale, &d_f16, sizeof(d_f16));
}

void F32ToQ8Row(const float* src, q8_t* dst, int64_t n) {
  for (int64_t b = 0; b < n / kQ8Block; ++b) {
    QuantiseBlock(src + b * kQ8Block, reinterpret_cast<int8_t*>(dst + b * kQ8Block),
                  dst + n + b * static_cast<int64_t>(sizeof(f16_t)));
  }
}

}  // namespace arkvale::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {

HWY_EXPORT(F32ToF16Row);

void ConvertF32ToF16(const float* src, f16_t* dst, int64_t n) { HWY_DYNAMIC_DISPATCH(F32ToF16Row)(src, dst, n); }

HWY_EXPORT(F32ToQ8Row);

void ConvertF32ToQ8(const float* src, q8_t* dst, int64_t n) { HWY_DYNAMIC_DISPATCH(F32ToQ8Row)(src, dst, n); }

void ConvertRow(DType type, const float* src, std::byte* dst, int64_t n) {
  if (type == DType::kQ8) return ConvertF32ToQ8(src, reinterpret_cast<q8_t*>(dst), n);
  ARKVALE_CHECK(type == DType::kF16);
  ConvertF32ToF16(src, reinterpret_cast<f16_t*>(dst), n);
}

}  // namespace arkvale
#endif
