// Tiles of packed weights (packed_weight.h) in f32, for matmul_tiles_cpu.cc. A vector lane is a row, so nothing is
// shuffled. The values are those of DequantiseTileRow to the last bit: the same operations, and where ggml's are
// others, products that f32 holds exactly.
#include <cstddef>
#include <cstdint>

#include "ggml.h"
#include "hwy/highway.h"
#include "ops/packed_lanes_inl.h"

// Per-target toggle of include guards, as hwy's own *-inl.h do it.
#if defined(ARKVALE_OPS_DEQUANTISE_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_DEQUANTISE_PACKED_INL_H_
#undef ARKVALE_OPS_DEQUANTISE_PACKED_INL_H_
#else
#define ARKVALE_OPS_DEQUANTISE_PACKED_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Writes (code - kZero) * scale [+ offset] of columns [kFirst, kFirst + kCols) of 32, `stride` floats apart.
template <int kWords, int kZero, bool kOffset>
struct CodeWriter {
  LaneFloatV scale;
  LaneFloatV offset;
  float* HWY_RESTRICT to;
  int64_t stride;

  HWY_INLINE void Write(int column, LaneWordV word) const {
    LaneIntV code = hn::BitCast(LaneInt(), word);
    if constexpr (kZero != 0) code = hn::Sub(code, hn::Set(LaneInt(), kZero));
    const auto value = hn::ConvertTo(LaneFloat(), code);
    hn::StoreU(kOffset ? hn::MulAdd(value, scale, offset) : hn::Mul(value, scale), LaneFloat(), to + column * stride);
  }

  // 8 bits: bytes from bit 0 up are the columns c, c+2, c+1, c+3.
  HWY_INLINE void Bytes(const uint8_t* codes) const {
    const auto mask = hn::Set(LaneWord(), 255);
#pragma GCC unroll 8
    for (int w = 0; w < 8; ++w) {
      const LaneWordV v = LaneWords(codes, w);
      Write(4 * w, hn::And(v, mask));
      Write(4 * w + 2, hn::And(hn::ShiftRight<8>(v), mask));
      Write(4 * w + 1, hn::And(hn::ShiftRight<16>(v), mask));
      Write(4 * w + 3, hn::And(hn::ShiftRight<24>(v), mask));
    }
  }

  // 4 to 6 bits, of `kHalf` 0 the columns 0-15, of 1 the others: nibbles from bit 0 up are c, c+2, c+4, c+6, c+1, ...;
  // the higher bits of column pair j are kHigh bits from kHigh * j and from 16 + kHigh * j up.
  template <int kHalf>
  HWY_INLINE void Nibbles(const uint8_t* codes) const {
    constexpr int kHigh = kWords - 4;
    const auto mask = hn::Set(LaneWord(), 15), high_mask = hn::Set(LaneWord(), ((1u << kHigh) - 1) << 4);
    LaneWordV high = hn::Zero(LaneWord());
    if constexpr (kHigh == 1) high = hn::ShiftRight<8 * kHalf>(LaneWords(codes, 4));
    if constexpr (kHigh == 2) high = LaneWords(codes, 4 + kHalf);
#pragma GCC unroll 2
    for (int w = 2 * kHalf; w < 2 * kHalf + 2; ++w) {
      LaneWordV low = LaneWords(codes, w);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        LaneWordV even = hn::And(low, mask), odd = hn::And(hn::ShiftRight<16>(low), mask);
        if constexpr (kHigh != 0) {
          even = hn::Or(even, hn::And(hn::ShiftLeft<4>(high), high_mask));
          odd = hn::Or(odd, hn::And(hn::ShiftRight<12>(high), high_mask));
          high = hn::ShiftRight<kHigh>(high);
        }
        Write(8 * w + 2 * j, even);
        Write(8 * w + 2 * j + 1, odd);
        low = hn::ShiftRight<4>(low);
      }
    }
  }
};

// The functions below write `depth` columns, whole spans, of the rows of one vector: `src` is the first row's scale in
// the first span, `codes` = kPackedRows * 2 * lane of the first row behind the others, dst[k * stride] the first row.

template <int kWords, int kZero, bool kOffset>
HWY_INLINE void DequantiseSpans32(const uint8_t* src, int64_t lane, int64_t depth, float* dst, int64_t stride) {
  constexpr int64_t kHeader = (kOffset ? 4 : 2) * kPackedRows, kSpan = kHeader + kWords * 4 * kPackedRows;
  // ggml's q8_0 has no offset; for the others DequantiseTileRow adds one, if only a zero.
  constexpr bool kAdds = kWords != 8;
  for (int64_t k = 0; k < depth; k += 32, src += kSpan, dst += 32 * stride) {
    const LaneFloatV offset = kOffset ? LaneHalfs(src + 2 * kPackedRows + 2 * lane) : hn::Zero(LaneFloat());
    const CodeWriter<kWords, kZero, kAdds> writer{LaneHalfs(src + 2 * lane), offset, dst, stride};
    const uint8_t* codes = src + kHeader + 4 * lane;
    if constexpr (kWords == 8) {
      writer.Bytes(codes);
    } else {
      writer.template Nibbles<0>(codes);
      writer.template Nibbles<1>(codes);
    }
  }
}

// q4_K, q5_K: per span d, dmin, 8 scales and 8 mins.
template <int kWords>
HWY_INLINE void DequantiseSpansQ45K(const uint8_t* src, int64_t lane, int64_t depth, float* dst, int64_t stride) {
  constexpr int64_t kScales = 4 * kPackedRows, kCodes = kScales + 16 * kPackedRows, kBlock = kWords * 4 * kPackedRows;
  for (int64_t k = 0; k < depth; k += 256, src += kCodes + 8 * kBlock) {
    const LaneFloatV d = LaneHalfs(src + 2 * lane), dmin = LaneHalfs(src + 2 * kPackedRows + 2 * lane);
    const uint8_t* scales = src + kScales + lane;
    for (int b = 0; b < 8; ++b, dst += 32 * stride) {
      const LaneFloatV scale = hn::Mul(d, LaneBytes<uint8_t>(scales + b * kPackedRows));
      const LaneFloatV min = hn::Mul(dmin, LaneBytes<uint8_t>(scales + (8 + b) * kPackedRows));
      const CodeWriter<kWords, 0, true> writer{scale, hn::Neg(min), dst, stride};
      const uint8_t* codes = src + kCodes + b * kBlock + 4 * lane;
      writer.template Nibbles<0>(codes);
      writer.template Nibbles<1>(codes);
    }
  }
}

// q6_K: per span d and 16 scales.
HWY_INLINE void DequantiseSpansQ6K(const uint8_t* src, int64_t lane, int64_t depth, float* dst, int64_t stride) {
  constexpr int64_t kScales = 2 * kPackedRows, kCodes = kScales + 16 * kPackedRows, kBlock = 6 * 4 * kPackedRows;
  for (int64_t k = 0; k < depth; k += 256, src += kCodes + 8 * kBlock) {
    const LaneFloatV d = LaneHalfs(src + 2 * lane);
    const uint8_t* scales = src + kScales + lane;
    for (int b = 0; b < 8; ++b, dst += 32 * stride) {
      const auto scale = [&](int half)
                             HWY_ATTR { return hn::Mul(d, LaneBytes<int8_t>(scales + (2 * b + half) * kPackedRows)); };
      const uint8_t* codes = src + kCodes + b * kBlock + 4 * lane;
      CodeWriter<6, 32, false>{scale(0), hn::Zero(LaneFloat()), dst, stride}.template Nibbles<0>(codes);
      CodeWriter<6, 32, false>{scale(1), hn::Zero(LaneFloat()), dst, stride}.template Nibbles<1>(codes);
    }
  }
}

// Columns [0, depth), whole spans, of a group of 16 rows, whose span of column 0 begins at `span`:
// dst[k * stride + row]. `ggml_type` is one that PackGroups packs.
inline void DequantisePackedGroup(int32_t ggml_type, const std::byte* span, int64_t depth, float* dst, int64_t stride) {
  const auto* src = reinterpret_cast<const uint8_t*>(span);
  const auto lanes = static_cast<int64_t>(hn::Lanes(LaneFloat()));
  for (int64_t lane = 0; lane < kPackedRows; lane += lanes, dst += lanes) {
    switch (ggml_type) {
      case GGML_TYPE_Q4_0: DequantiseSpans32<4, 8, false>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q4_1: DequantiseSpans32<4, 0, true>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q5_0: DequantiseSpans32<5, 16, false>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q5_1: DequantiseSpans32<5, 0, true>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q8_0: DequantiseSpans32<8, 128, false>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q4_K: DequantiseSpansQ45K<4>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q5_K: DequantiseSpansQ45K<5>(src, lane, depth, dst, stride); break;
      case GGML_TYPE_Q6_K: DequantiseSpansQ6K(src, lane, depth, dst, stride); break;
      default: break;
    }
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle
