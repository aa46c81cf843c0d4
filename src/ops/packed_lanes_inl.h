// Vectors whose lanes are rows of packed weights (packed_weight.h), and how their scales and codes are read. Compiled
// once per target (Highway's foreach_target).

#if defined(ARKVALE_OPS_PACKED_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_PACKED_LANES_INL_H_
#undef ARKVALE_OPS_PACKED_LANES_INL_H_
#else
#define ARKVALE_OPS_PACKED_LANES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "ops/weight.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As many of a group's 16 rows as a vector holds.
using LaneFloat = hn::CappedTag<float, kPackedRows>;
using LaneInt = hn::RebindToSigned<LaneFloat>;
using LaneWord = hn::RebindToUnsigned<LaneFloat>;
using LaneFloatV = hn::Vec<LaneFloat>;
using LaneIntV = hn::Vec<LaneInt>;
using LaneWordV = hn::Vec<LaneWord>;

// f16 numbers of the rows; p: the first row's.
HWY_INLINE LaneFloatV LaneHalfs(const uint8_t* p) {
  const hn::Rebind<hwy::float16_t, LaneFloat> d16;
  return hn::PromoteTo(LaneFloat(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}

// 8-bit numbers of the rows; T: uint8_t or int8_t.
template <typename T>
HWY_INLINE LaneFloatV LaneBytes(const uint8_t* p) {
  const hn::Rebind<T, LaneFloat> d8;
  return hn::ConvertTo(LaneFloat(), hn::PromoteTo(LaneInt(), hn::LoadU(d8, reinterpret_cast<const T*>(p))));
}

// Word `word` of each row; the codes of the first row begin at p.
HWY_INLINE LaneWordV LaneWords(const uint8_t* p, int word) {
  return hn::LoadU(LaneWord(), reinterpret_cast<const uint32_t*>(p + word * kPackedRows * 4));
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle
