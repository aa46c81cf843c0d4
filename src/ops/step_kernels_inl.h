// SIMD kernels of the step path: 16 packed rows (packed_weight.h) times tokens whose x is rounded to 16 bits. Compiled
// once per target (Highway's foreach_target).
//
// A vector lane is a row. Codes are multiplied in pairs of 16-bit numbers and summed in 32 bits, where 32 columns
// cannot overflow (255 * 32767 * 32 < 2^28); so the sum of a block is exact, and what a token gets is the same chain of
// float operations in whatever batch it comes.

#if defined(ARKVALE_OPS_STEP_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_STEP_KERNELS_INL_H_
#undef ARKVALE_OPS_STEP_KERNELS_INL_H_
#else
#define ARKVALE_OPS_STEP_KERNELS_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "ops/matmul_cpu.h"
#include "ops/packed_lanes_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kStepLanes = static_cast<int>(hn::MaxLanes(LaneFloat()));
constexpr int kStepParts = kPackedRows / kStepLanes;  // vectors that the 16 rows take
constexpr int kStepTokens = 4;                        // tokens that share the unpacking of codes

enum class StepScales {
  kBlock,        // f16 scale per 32 columns
  kBlockOffset,  // f16 scale and offset per 32 columns
  kUnsigned,     // per 256 columns f16 d and dmin, per 32 of them u8 scale and min
  kSigned,       // per 256 columns f16 d, per 16 of them i8 scale
};

// Codes of kBits bits; their zero is 2^kZeroBits, or 0 where kZeroBits is.
template <StepScales kScalesOf, int kBitsOf, int kZeroBitsOf>
struct StepLayout {
  static constexpr StepScales kScales = kScalesOf;
  static constexpr int kBits = kBitsOf;
  static constexpr int kZeroBits = kZeroBitsOf;
  static constexpr bool kOffset = kScales == StepScales::kBlockOffset || kScales == StepScales::kUnsigned;
  static constexpr int kBlocks = kScales == StepScales::kUnsigned || kScales == StepScales::kSigned ? 8 : 1;
  static constexpr int kHeader = (kOffset ? 4 : 2) * kPackedRows + (kBlocks == 8 ? 16 * kPackedRows : 0);
  static constexpr int kCodes = kBits * 4 * kPackedRows;  // bytes of 32 columns
};

// The sums of products of each token; the second halves are ReorderWidenMulAccumulate's own, and stay 0 on x86.
template <int kTokens>
struct StepSums {
  LaneIntV first[kTokens], second[kTokens];

  HWY_INLINE void Clear() {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) first[t] = second[t] = hn::Zero(LaneInt());
  }

  // += codes of two columns times x of each token.
  HWY_INLINE void Add(LaneWordV codes, const StepBlock* HWY_RESTRICT x, int64_t x_stride, int pair) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      int32_t two;
      std::memcpy(&two, x[t * x_stride].x + 2 * pair, sizeof(two));
#if HWY_TARGET == HWY_SCALAR
      const int32_t both = static_cast<int32_t>(codes.raw);
      first[t].raw += (both & 0xffff) * static_cast<int16_t>(two) + (both >> 16) * (two >> 16);
#else
      const hn::Repartition<int16_t, LaneInt> d16;
      first[t] = hn::ReorderWidenMulAccumulate(LaneInt(), hn::BitCast(d16, codes),
                                               hn::BitCast(d16, hn::Set(LaneInt(), two)), first[t], second[t]);
#endif
    }
  }

  // GCC 12 moves the sums of all tokens but the first behind the products of the whole block, which then have to wait
  // in memory: twice the time with 4 tokens. It moves nothing across this.
  HWY_INLINE void Settle() {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && defined(__GNUC__)
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) asm("" : "+v"(first[t].raw));
#endif
  }

  HWY_INLINE LaneIntV Total(int t) const {
#if HWY_TARGET == HWY_SCALAR
    return first[t];
#else
    return hn::RearrangeToOddPlusEven(first[t], second[t]);
#endif
  }
};

// Keeps GCC from reading what is at p for all parts at once, for which there are too few registers.
HWY_INLINE const StepBlock* Forget(const StepBlock* p) {
#if HWY_ARCH_X86 && defined(__GNUC__)
  if constexpr (kStepParts > 1) asm("" : "+r"(p));
#endif
  return p;
}

// Asks for the `kBytes` bytes that are kAhead behind p. One Zen 5 core through 96 MB of q4_1 and q8_0, GB/s: 27
// without, 23 with 512 bytes, 26 with 2 KB, 28 with 4, 32 with 8, 30 with 12 and 16; 34 where the bytes are only read.
template <int kBytes>
HWY_INLINE void PrefetchAhead(const uint8_t* p) {
  constexpr int kAhead = 8192;
#pragma GCC unroll 16
  for (int i = 0; i < kBytes; i += 64) hwy::Prefetch(p + kAhead + i);
}

// Bits above the fourth of the pairs of word kWord, so that those of pair j are at bit 4 after j steps to the right.
template <int kBits, int kWord>
HWY_INLINE LaneWordV HighBits(const uint8_t* codes) {
  if constexpr (kBits == 5) {
    const LaneWordV bits = LaneWords(codes, 4);
    return kWord == 0 ? hn::ShiftLeft<4>(bits) : hn::ShiftRight<4 * (kWord > 0 ? kWord - 1 : 0)>(bits);
  } else {
    const LaneWordV bits = LaneWords(codes, 4 + kWord / 2);
    return kWord % 2 == 0 ? hn::ShiftLeft<4>(bits) : hn::ShiftRight<4>(bits);
  }
}

// sums += the products of the 8 columns of word kWord (of the 4 columns, if codes have 8 bits).
template <int kBits, int kWord, int kTokens>
HWY_INLINE void AddWord(const uint8_t* codes, const StepBlock* HWY_RESTRICT x, int64_t x_stride,
                        StepSums<kTokens>& sums) {
  const LaneWord d;
  LaneWordV low = LaneWords(codes, kWord);
  if constexpr (kBits == 8) {
    const LaneWordV mask = hn::Set(d, 0x00ff00ffu);
    sums.Add(hn::And(low, mask), x, x_stride, 2 * kWord);
    if (kStepParts > 1) sums.Settle();
    sums.Add(hn::And(hn::ShiftRight<8>(low), mask), x, x_stride, 2 * kWord + 1);
  } else {
    const LaneWordV mask = hn::Set(d, 0x000f000fu);
    LaneWordV high = low;
    if constexpr (kBits > 4) high = HighBits<kBits, kWord>(codes);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      LaneWordV pair = hn::And(low, mask);
      if constexpr (kBits > 4) {
        pair = hn::Or(pair, hn::And(high, hn::Set(d, kBits == 5 ? 0x00100010u : 0x00300030u)));
        high = hn::ShiftRight<kBits - 4>(high);
      }
      sums.Add(pair, x, x_stride, 4 * kWord + j);
      if (kStepParts > 1) sums.Settle();
      low = hn::ShiftRight<4>(low);
    }
  }
  sums.Settle();
}

// sums += the products of 16 columns, half kHalf of a block.
template <int kBits, int kHalf, int kTokens>
HWY_INLINE void AddHalf(const uint8_t* codes, const StepBlock* HWY_RESTRICT x, int64_t x_stride,
                        StepSums<kTokens>& sums) {
  if constexpr (kBits == 8) {
    AddWord<kBits, 4 * kHalf>(codes, x, x_stride, sums);
    AddWord<kBits, 4 * kHalf + 1>(codes, x, x_stride, sums);
    AddWord<kBits, 4 * kHalf + 2>(codes, x, x_stride, sums);
    AddWord<kBits, 4 * kHalf + 3>(codes, x, x_stride, sums);
  } else {
    AddWord<kBits, 2 * kHalf>(codes, x, x_stride, sums);
    AddWord<kBits, 2 * kHalf + 1>(codes, x, x_stride, sums);
  }
}

// acc += scale * x_scale * (sum - zero * sum of x), of which `sum_x` says the columns.
template <int kZeroBits, int kTokens>
HWY_INLINE void Accumulate(LaneFloatV scale, const StepSums<kTokens>& sums, const StepBlock* HWY_RESTRICT x,
                           int64_t x_stride, int32_t StepBlock::*sum_x, LaneFloatV (&acc)[kTokens]) {
  const LaneFloat d;
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    const StepBlock& token = x[t * x_stride];
    LaneIntV sum = sums.Total(t);
    if constexpr (kZeroBits > 0) sum = hn::Sub(sum, hn::ShiftLeft<kZeroBits>(hn::Set(LaneInt(), token.*sum_x)));
    acc[t] = hn::MulAdd(hn::Mul(scale, hn::Set(d, token.scale)), hn::ConvertTo(d, sum), acc[t]);
  }
}

// acc += the products of 32 columns with one scale.
template <class Layout, int kTokens>
HWY_INLINE void AddBlock(const uint8_t* codes, LaneFloatV scale, const StepBlock* HWY_RESTRICT x, int64_t x_stride,
                         LaneFloatV (&acc)[kTokens]) {
  StepSums<kTokens> sums;
  sums.Clear();
  AddHalf<Layout::kBits, 0>(codes, x, x_stride, sums);
  AddHalf<Layout::kBits, 1>(codes, x, x_stride, sums);
  Accumulate<Layout::kZeroBits>(scale, sums, x, x_stride, &StepBlock::sum, acc);
}

// acc += the products of 16 columns, half kHalf of a block.
template <class Layout, int kHalf, int kTokens>
HWY_INLINE void AddHalfBlock(const uint8_t* codes, LaneFloatV scale, const StepBlock* HWY_RESTRICT x, int64_t x_stride,
                             LaneFloatV (&acc)[kTokens]) {
  StepSums<kTokens> sums;
  sums.Clear();
  AddHalf<Layout::kBits, kHalf>(codes, x, x_stride, sums);
  Accumulate<Layout::kZeroBits>(scale, sums, x, x_stride, kHalf == 0 ? &StepBlock::first_sum : &StepBlock::second_sum,
                                acc);
}

// acc += offset * sum of x.
template <int kTokens>
HWY_INLINE void AddOffset(LaneFloatV offset, const StepBlock* HWY_RESTRICT x, int64_t x_stride,
                          LaneFloatV (&acc)[kTokens]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    acc[t] = hn::MulAdd(offset, hn::Set(LaneFloat(), x[t * x_stride].scaled_sum), acc[t]);
  }
}

// acc += the products of a span, for the rows [first_row, first_row + kStepLanes).
template <class Layout, int kTokens>
HWY_INLINE void AddSpan(const uint8_t* HWY_RESTRICT span, int first_row, const StepBlock* HWY_RESTRICT x,
                        int64_t x_stride, LaneFloatV (&acc)[kTokens]) {
  constexpr int kHalfs = 2 * kPackedRows;
  const uint8_t* codes = span + Layout::kHeader + 4 * first_row;
  const LaneFloatV scale = LaneHalfs(span + 2 * first_row);
  if constexpr (Layout::kBlocks == 1) {
    AddBlock<Layout>(codes, scale, x, x_stride, acc);
    if constexpr (Layout::kOffset) AddOffset(LaneHalfs(span + kHalfs + 2 * first_row), x, x_stride, acc);
  } else if constexpr (Layout::kScales == StepScales::kUnsigned) {
    const LaneFloatV min = hn::Neg(LaneHalfs(span + kHalfs + 2 * first_row));
    const uint8_t* scales = span + 2 * kHalfs + first_row;
    for (int b = 0; b < Layout::kBlocks; ++b, scales += kPackedRows, codes += Layout::kCodes, ++x) {
      if (first_row == 0) PrefetchAhead<Layout::kCodes>(codes);
      AddBlock<Layout>(codes, hn::Mul(scale, LaneBytes<uint8_t>(scales)), x, x_stride, acc);
      AddOffset(hn::Mul(min, LaneBytes<uint8_t>(scales + Layout::kBlocks * kPackedRows)), x, x_stride, acc);
    }
  } else {
    const uint8_t* scales = span + kHalfs + first_row;
    for (int b = 0; b < Layout::kBlocks; ++b, scales += 2 * kPackedRows, codes += Layout::kCodes, ++x) {
      if (first_row == 0) PrefetchAhead<Layout::kCodes>(codes);
      const LaneFloatV first = hn::Mul(scale, LaneBytes<int8_t>(scales));
      const LaneFloatV second = hn::Mul(scale, LaneBytes<int8_t>(scales + kPackedRows));
      AddHalfBlock<Layout, 0>(codes, first, x, x_stride, acc);
      AddHalfBlock<Layout, 1>(codes, second, x, x_stride, acc);
    }
  }
}

// y[t][row] = the products of a group with kTokens tokens.
template <class Layout, int kTokens>
HWY_NOINLINE void MultiplyGroup(const uint8_t* HWY_RESTRICT group, int64_t n_blocks, const StepBlock* HWY_RESTRICT x,
                                int64_t x_stride, float* HWY_RESTRICT y) {
  constexpr int kSpanBytes = Layout::kHeader + Layout::kBlocks * Layout::kCodes;
  LaneFloatV acc[kStepParts][kTokens];
  for (int part = 0; part < kStepParts; ++part) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) acc[part][t] = hn::Zero(LaneFloat());
  }
  for (int64_t b = 0; b < n_blocks; b += Layout::kBlocks, group += kSpanBytes, x += Layout::kBlocks) {
    PrefetchAhead<Layout::kBlocks == 1 ? kSpanBytes : Layout::kHeader>(group);
    for (int part = 0; part < kStepParts; ++part) {
      AddSpan<Layout>(group, part * kStepLanes, Forget(x), x_stride, acc[part]);
    }
  }
  for (int part = 0; part < kStepParts; ++part) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      hn::StoreU(acc[part][t], LaneFloat(), y + t * kPackedRows + part * kStepLanes);
    }
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle
