// Vector twins of the element types that ggml dequantises slowly, for matmul_tiles_cpu.cc. Measured on AVX-512 with GCC
// 12, ns per element by ggml: q8_0 and q4_K 0.13, but q4_1 0.5, q5_0 0.8, q6_K 0.9, where the product of one weight
// with 512 tokens takes 5.5. Block layouts: the GGUF specification.
#include <cstddef>
#include <cstring>

#include "base/f16.h"
#include "ggml.h"
#include "hwy/highway.h"
#include "ops/dequantise.h"

// Per-target toggle of include guards, as hwy's own *-inl.h do it.
#if defined(ARKVALE_OPS_DEQUANTISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_DEQUANTISE_INL_H_
#undef ARKVALE_OPS_DEQUANTISE_INL_H_
#else
#define ARKVALE_OPS_DEQUANTISE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TileFloat = hn::CappedTag<float, 16>;
using TileInt = hn::RebindToSigned<TileFloat>;
using TileByte = hn::Rebind<uint8_t, TileFloat>;
using TileIntV = hn::Vec<TileInt>;

HWY_INLINE float ScaleAt(const uint8_t* p) {
  f16_t h;
  std::memcpy(&h, p, sizeof(h));
  return F16ToF32(h);
}

HWY_INLINE TileIntV BytesAt(const uint8_t* p) { return hn::PromoteTo(TileInt(), hn::LoadU(TileByte(), p)); }

// Blocks of 32: f16 scale, [f16 offset], [32 fifth bits], 16 bytes whose low halves are elements 0-15 and whose high
// halves are elements 16-31. value = scale * (q - zero) + offset.
template <bool kOffset, bool kFifthBit>
HWY_INLINE void DequantiseNibbles(const uint8_t* HWY_RESTRICT src, float* HWY_RESTRICT dst, int64_t n) {
  const TileFloat d;
  const TileInt di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  constexpr int kZero = kOffset ? 0 : (kFifthBit ? 16 : 8);
  for (int64_t i = 0; i < n; i += 32) {
    const auto scale = hn::Set(d, ScaleAt(src));
    src += 2;
    float offset = 0.0f;
    if constexpr (kOffset) {
      offset = ScaleAt(src);
      src += 2;
    }
    uint32_t fifth = 0;
    if constexpr (kFifthBit) {
      std::memcpy(&fifth, src, sizeof(fifth));
      src += sizeof(fifth);
    }
    for (int64_t j = 0; j < 16; j += lanes) {
      const TileIntV bytes = BytesAt(src + j);
      TileIntV low = hn::And(bytes, hn::Set(di, 15)), high = hn::ShiftRight<4>(bytes);
      if constexpr (kFifthBit) {
        const TileIntV bit = hn::Shl(hn::Set(di, 1), hn::Iota(di, static_cast<int32_t>(j)));
        const TileIntV sixteen = hn::Set(di, 16);
        const TileIntV low_set = hn::Set(di, static_cast<int32_t>(fifth & 0xffff));
        const TileIntV high_set = hn::Set(di, static_cast<int32_t>(fifth >> 16));
        low = hn::Or(low, hn::And(sixteen, hn::VecFromMask(di, hn::Eq(hn::And(low_set, bit), bit))));
        high = hn::Or(high, hn::And(sixteen, hn::VecFromMask(di, hn::Eq(hn::And(high_set, bit), bit))));
      }
      if constexpr (kZero != 0) {
        low = hn::Sub(low, hn::Set(di, kZero));
        high = hn::Sub(high, hn::Set(di, kZero));
      }
      const auto offsets = hn::Set(d, offset);
      hn::StoreU(hn::MulAdd(hn::ConvertTo(d, low), scale, offsets), d, dst + i + j);
      hn::StoreU(hn::MulAdd(hn::ConvertTo(d, high), scale, offsets), d, dst + i + 16 + j);
    }
    src += 16;
  }
}

// q6_K, blocks of 256: low 4 bits [128 bytes], high 2 bits [64], 16 int8 scales of 16 elements each, f16 scale of all.
HWY_INLINE void DequantiseQ6K(const uint8_t* HWY_RESTRICT src, float* HWY_RESTRICT dst, int64_t n) {
  const TileFloat d;
  const TileInt di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const TileIntV low_mask = hn::Set(di, 15), high_mask = hn::Set(di, 0x30), zero = hn::Set(di, 32);
  for (int64_t i = 0; i < n; i += 256, src += 210) {
    const float scale = ScaleAt(src + 208);
    for (int half = 0; half < 2; ++half) {
      const uint8_t* low = src + half * 64;
      const uint8_t* high = src + 128 + half * 32;
      const auto* scales = reinterpret_cast<const int8_t*>(src + 192 + half * 8);
      float* to = dst + i + half * 128;
      for (int64_t j = 0; j < 32; j += lanes) {
        const TileIntV a = BytesAt(low + j), b = BytesAt(low + 32 + j), h = BytesAt(high + j);
        const TileIntV q[4] = {
            hn::Or(hn::And(a, low_mask), hn::And(hn::ShiftLeft<4>(h), high_mask)),
            hn::Or(hn::And(b, low_mask), hn::And(hn::ShiftLeft<2>(h), high_mask)),
            hn::Or(hn::ShiftRight<4>(a), hn::And(h, high_mask)),
            hn::Or(hn::ShiftRight<4>(b), hn::And(hn::ShiftRight<2>(h), high_mask)),
        };
        for (int part = 0; part < 4; ++part) {
          const size_t block = 2 * part + j / 16;
          const auto factor = hn::Set(d, scale * static_cast<float>(scales[block]));
          hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::Sub(q[part], zero)), factor), d, to + part * 32 + j);
        }
      }
    }
  }
}

// As Dequantise of dequantise.h, but for the rounding of a product and a sum that are fused here.
inline void DequantiseTileRow(int32_t ggml_type, const void* src, float* dst, int64_t n) {
  const auto* bytes = static_cast<const uint8_t*>(src);
  switch (ggml_type) {
    case GGML_TYPE_Q4_0: return DequantiseNibbles<false, false>(bytes, dst, n);
    case GGML_TYPE_Q4_1: return DequantiseNibbles<true, false>(bytes, dst, n);
    case GGML_TYPE_Q5_0: return DequantiseNibbles<false, true>(bytes, dst, n);
    case GGML_TYPE_Q5_1: return DequantiseNibbles<true, true>(bytes, dst, n);
    case GGML_TYPE_Q6_K: return DequantiseQ6K(bytes, dst, n);
    default: return Dequantise(ggml_type, src, dst, n);
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle
