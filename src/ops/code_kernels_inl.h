// SIMD kernels of the code digests' scores: the sums of a page's keys of b_t u_t, or the largest of them, with
// b_t = q_t w_t (rho_t) of page and query and the 1- or 2-bit codes u_t. Compiled once per target (Highway's
// foreach_target).
//
// b is quantised to 16 bits (code_query_inl.h): q once per query and w per page to vectors of integers of Euclidean
// length kCodeNorm, and their products are rounded by the fixed-point multiplication. Then sum_t |b_t| < 2^15
// (Cauchy-Schwarz), which is what lets 16-bit sums do where a bit is added as it is; and outlier dimensions cost no
// more than their share of the length. Integer sums are exact, so the bits of a score depend on nothing but page and
// query. ops/digest.h gives the error; on keys of real models 8 bits, which halve the work, change 1 % of the best
// pages.

#if defined(ARKVALE_OPS_CODE_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_CODE_KERNELS_INL_H_
#undef ARKVALE_OPS_CODE_KERNELS_INL_H_
#else
#define ARKVALE_OPS_CODE_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "ops/digest_layout.h"
#include "ops/row_kernels_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// The planes of one page; code1 has no low bit: null.
struct PagePlanes {
  const std::byte *high, *low;
  int64_t page_tokens, n_blocks;
};

constexpr int kCodeHeads = 4;          // query heads that share the unpacking
constexpr float kCodeNorm = 32000.0f;  // leaves room for the roundings of d = 2,000 dimensions

// Where the scores of a page's keys go: out[h * stride + token] = base[h] + step[h] * (the key's sum).
struct KeyScores {
  float base[kCodeHeads], step[kCodeHeads];
  float* out;
  int64_t stride;
};

// x * factor + addend as a lane of MulAdd rounds it, so that a page's score has the bits of its best key's.
HWY_INLINE float MulAddFloats(float x, float factor, float addend) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(hn::MulAdd(hn::Set(d, x), hn::Set(d, factor), hn::Set(d, addend)));
}

#if HWY_TARGET == HWY_SCALAR

// Place of a dimension in QuantiseRow's order.
inline int64_t PairOrder(int64_t t) {
  const int64_t in_block = t % kCodeBlock;
  return t - in_block + in_block % (kCodeBlock / 2) * 2 + in_block / (kCodeBlock / 2);
}

// Calls put(token, sums [n_heads]) for every key.
template <class Put>
void ForEachKey(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, const Put& put) {
  for (int64_t token = 0; token < page.page_tokens; ++token) {
    int32_t sums[kCodeHeads] = {};
    for (int64_t t = 0; t < page.n_blocks * kCodeBlock; ++t) {
      const int64_t at = CodeByte(page.page_tokens, token, t);
      int32_t code = std::to_integer<int32_t>(page.high[at]) >> CodeBit(t) & 1;
      if (page.low != nullptr) code = 2 * code + (std::to_integer<int32_t>(page.low[at]) >> CodeBit(t) & 1);
      for (int h = 0; h < n_heads; ++h) sums[h] += code * b[h * stride + PairOrder(t)];
    }
    put(token, sums);
  }
}

inline void BestKeys(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, int32_t* best) {
  ForEachKey(page, b, stride, n_heads, [&](int64_t, const int32_t* sums) {
    for (int h = 0; h < n_heads; ++h) best[h] = std::max(best[h], sums[h]);
  });
}

inline void ScoreKeys(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, const KeyScores& to) {
  ForEachKey(page, b, stride, n_heads, [&](int64_t token, const int32_t* sums) {
    for (int h = 0; h < n_heads; ++h) {
      to.out[h * to.stride + token] = MulAddFloats(to.step[h], static_cast<float>(sums[h]), to.base[h]);
    }
  });
}

#else

// total[h][g] = sum_t b_t u_t of the keys from token + g * lanes on.
template <class D32, int kHeads, int kGroups, bool kTwo>
HWY_INLINE void SumCodes(D32 d32, const PagePlanes& page, int64_t token, const int16_t* b, int64_t stride,
                         hn::Vec<D32> (&total)[kHeads][kGroups]) {
  const hn::Repartition<int16_t, D32> d16;
  const hn::Repartition<uint16_t, D32> du16;
  using V32 = hn::Vec<D32>;
  using VU16 = hn::Vec<decltype(du16)>;
  constexpr int64_t kLanes = hn::MaxLanes(D32());
  const auto load = [&](const std::byte* plane, int64_t block, int64_t first) HWY_ATTR {
    return hn::LoadU(du16, reinterpret_cast<const uint16_t*>(plane + (block * page.page_tokens + first) * 4));
  };
  V32 sum[kHeads][kGroups], sum2[kHeads][kGroups];
  for (int h = 0; h < kHeads; ++h) {
    for (int g = 0; g < kGroups; ++g) sum[h][g] = sum2[h][g] = hn::Zero(d32);
  }
  // sum += b of a pair of dimensions times their codes.
  const auto add = [&](const VU16* codes, int64_t pair) HWY_ATTR {
    for (int h = 0; h < kHeads; ++h) {
      int32_t two;
      std::memcpy(&two, b + h * stride + 2 * pair, sizeof(two));
      const auto factors = hn::BitCast(d16, hn::Set(d32, two));
      for (int g = 0; g < kGroups; ++g) {
        sum[h][g] = hn::ReorderWidenMulAccumulate(d32, hn::BitCast(d16, codes[g]), factors, sum[h][g], sum2[h][g]);
      }
    }
  };
  for (int64_t block = 0; block < page.n_blocks; ++block) {
    // Codes of the pairs 0, 2, 4.. and 1, 3, 5.. of the block, two bits apart.
    VU16 even[kGroups], odd[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      const VU16 high = load(page.high, block, token + g * kLanes);
      even[g] = high;
      odd[g] = hn::ShiftRight<1>(high);
      if constexpr (kTwo) {
        const VU16 odd_bits = hn::Set(du16, uint16_t{0xaaaa}), even_bits = hn::Set(du16, uint16_t{0x5555});
        const VU16 low = load(page.low, block, token + g * kLanes);
        even[g] = hn::Or(hn::And(low, even_bits), hn::And(hn::Add(high, high), odd_bits));
        odd[g] = hn::Or(hn::And(hn::ShiftRight<1>(low), even_bits), hn::And(high, odd_bits));
      }
    }
    const VU16 mask = hn::Set(du16, uint16_t{kTwo ? 3 : 1});
#pragma GCC unroll 4
    for (int64_t j = 0; j < kCodeBlock / 2; j += 2) {
      const int64_t pair = block * kCodeBlock / 2 + j;
      VU16 first[kGroups], second[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        first[g] = hn::And(even[g], mask);
        second[g] = hn::And(odd[g], mask);
        even[g] = hn::ShiftRight<2>(even[g]);
        odd[g] = hn::ShiftRight<2>(odd[g]);
      }
      add(first, pair);
      add(second, pair + 1);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int g = 0; g < kGroups; ++g) total[h][g] = hn::Add(sum[h][g], sum2[h][g]);
  }
}

// Tokens [token, token + n_tiles * kGroups * lanes): best[h] = max(best[h], sum_t b_t u_t).
template <class D32, int kHeads, int kGroups, bool kTwo>
void BestKeysOfTiles(D32 d32, const PagePlanes& page, int64_t token, int64_t n_tiles, const int16_t* b, int64_t stride,
                     int32_t* best) {
  using V32 = hn::Vec<D32>;
  V32 most[kHeads];
  for (int h = 0; h < kHeads; ++h) most[h] = hn::Set(d32, std::numeric_limits<int32_t>::min());
  for (int64_t tile = 0; tile < n_tiles; ++tile, token += kGroups * hn::MaxLanes(d32)) {
    V32 sum[kHeads][kGroups];
    SumCodes<D32, kHeads, kGroups, kTwo>(d32, page, token, b, stride, sum);
    for (int h = 0; h < kHeads; ++h) {
      for (int g = 0; g < kGroups; ++g) most[h] = hn::Max(most[h], sum[h][g]);
    }
  }
  for (int h = 0; h < kHeads; ++h) best[h] = std::max(best[h], hn::GetLane(hn::MaxOfLanes(d32, most[h])));
}

// The scores of the same tokens.
template <class D32, int kHeads, int kGroups>
void ScoreKeysOfTiles(D32 d32, const PagePlanes& page, int64_t token, int64_t n_tiles, const int16_t* b, int64_t stride,
                      const KeyScores& to) {
  const hn::RebindToFloat<D32> df;
  constexpr int64_t kLanes = hn::MaxLanes(D32());
  for (int64_t tile = 0; tile < n_tiles; ++tile, token += kGroups * kLanes) {
    hn::Vec<D32> sum[kHeads][kGroups];
    SumCodes<D32, kHeads, kGroups, /*kTwo=*/true>(d32, page, token, b, stride, sum);
    for (int h = 0; h < kHeads; ++h) {
      const auto base = hn::Set(df, to.base[h]), step = hn::Set(df, to.step[h]);
      for (int g = 0; g < kGroups; ++g) {
        hn::StoreU(hn::MulAdd(step, hn::ConvertTo(df, sum[h][g]), base), df,
                   to.out + h * to.stride + token + g * kLanes);
      }
    }
  }
}

#if HWY_TARGET <= HWY_AVX3
// Where mask: sum + x, else sum. The compiler does not find these instructions in IfThenElse.
HWY_INLINE hn::Vec512<int16_t> AddWhere(hn::Mask512<int16_t> mask, hn::Vec512<int16_t> sum, hn::Vec512<int16_t> x) {
  return hn::Vec512<int16_t>{_mm512_mask_add_epi16(sum.raw, mask.raw, sum.raw, x.raw)};
}
HWY_INLINE hn::Vec256<int16_t> AddWhere(hn::Mask256<int16_t> mask, hn::Vec256<int16_t> sum, hn::Vec256<int16_t> x) {
  return hn::Vec256<int16_t>{_mm256_mask_add_epi16(sum.raw, mask.raw, sum.raw, x.raw)};
}

// The same for one bit with 16-bit sums: a lane adds its dimension's b where the bit is set. Half the instructions of
// the multiplications.
template <class D32, int kHeads, int kGroups>
void BestKeysOfBits(D32 d32, const PagePlanes& page, int64_t token, int64_t n_tiles, const int16_t* b, int64_t stride,
                    int32_t* best) {
  const hn::Repartition<int16_t, D32> d16;
  using V16 = hn::Vec<decltype(d16)>;
  using V32 = hn::Vec<D32>;
  constexpr int64_t kLanes = hn::MaxLanes(D32());
  V32 most[kHeads];
  for (int h = 0; h < kHeads; ++h) most[h] = hn::Set(d32, std::numeric_limits<int32_t>::min());
  for (int64_t tile = 0; tile < n_tiles; ++tile, token += kGroups * kLanes) {
    V16 sum[kHeads][kGroups];  // of the first dimensions of a token's pairs, of the second ones
    for (int h = 0; h < kHeads; ++h) {
      for (int g = 0; g < kGroups; ++g) sum[h][g] = hn::Zero(d16);
    }
    for (int64_t block = 0; block < page.n_blocks; ++block) {
      V16 bits[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        bits[g] = hn::LoadU(
            d16, reinterpret_cast<const int16_t*>(page.high + (block * page.page_tokens + token + g * kLanes) * 4));
      }
      V16 bit = hn::Set(d16, 1);
#pragma GCC unroll 4
      for (int64_t j = 0; j < kCodeBlock / 2; ++j) {
        const int64_t pair = block * kCodeBlock / 2 + j;
        hn::Mask<decltype(d16)> is_set[kGroups];
        for (int g = 0; g < kGroups; ++g) is_set[g] = hn::TestBit(bits[g], bit);
        for (int h = 0; h < kHeads; ++h) {
          int32_t two;
          std::memcpy(&two, b + h * stride + 2 * pair, sizeof(two));
          const V16 addend = hn::BitCast(d16, hn::Set(d32, two));
          for (int g = 0; g < kGroups; ++g) {
            sum[h][g] = AddWhere(is_set[g], sum[h][g], addend);
          }
        }
        bit = hn::Add(bit, bit);
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      for (int g = 0; g < kGroups; ++g) {
        V32 none = hn::Zero(d32);
        const V32 joined = hn::ReorderWidenMulAccumulate(d32, sum[h][g], hn::Set(d16, 1), none, none);
        most[h] = hn::Max(most[h], joined);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) best[h] = std::max(best[h], hn::GetLane(hn::MaxOfLanes(d32, most[h])));
}
#endif

template <class D32, int kHeads, int kGroups, bool kTwo>
HWY_INLINE void BestKeysOfTokens(D32 d32, const PagePlanes& page, int64_t token, int64_t n_tiles, const int16_t* b,
                                 int64_t stride, int32_t* best) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (!kTwo) return BestKeysOfBits<D32, kHeads, kGroups>(d32, page, token, n_tiles, b, stride, best);
#endif
  if constexpr (kTwo || HWY_TARGET > HWY_AVX3) {
    BestKeysOfTiles<D32, kHeads, kGroups, kTwo>(d32, page, token, n_tiles, b, stride, best);
  }
}

// Calls run(tag of the lanes, groups, token, n_tiles) until all tokens of a page are covered.
template <class Run>
HWY_INLINE void ForTiles(int64_t page_tokens, const Run& run) {
  using D32 = hn::RebindToSigned<DF>;
  constexpr int kGroups = kN == 16 ? 2 : 1;  // as many sums as the registers hold
  const int64_t tiles = page_tokens / (kGroups * kN);
  if (tiles > 0) run(D32(), std::integral_constant<int, kGroups>(), 0, tiles);
  if constexpr (kN == 16) {  // pages are multiples of 8 tokens
    int64_t token = tiles * kGroups * kN;
    if (page_tokens - token >= kN) {
      run(D32(), std::integral_constant<int, 1>(), token, 1);
      token += kN;
    }
    using D8 = hn::CappedTag<int32_t, 8>;
    if (token < page_tokens) run(D8(), std::integral_constant<int, 1>(), token, 1);
  }
}

template <int kHeads, bool kTwo>
void BestKeysOfHeads(const PagePlanes& page, const int16_t* b, int64_t stride, int32_t* best) {
  ForTiles(page.page_tokens,
           [&]<class D, int kGroups>(D d, std::integral_constant<int, kGroups>, int64_t token, int64_t n_tiles)
               HWY_ATTR { BestKeysOfTokens<D, kHeads, kGroups, kTwo>(d, page, token, n_tiles, b, stride, best); });
}

template <int kHeads>
void ScoreKeysOfHeads(const PagePlanes& page, const int16_t* b, int64_t stride, const KeyScores& to) {
  ForTiles(page.page_tokens,
           [&]<class D, int kGroups>(D d, std::integral_constant<int, kGroups>, int64_t token, int64_t n_tiles)
               HWY_ATTR { ScoreKeysOfTiles<D, kHeads, kGroups>(d, page, token, n_tiles, b, stride, to); });
}

// b [n_heads, stride], n_heads <= kCodeHeads.
inline void BestKeys(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, int32_t* best) {
  const bool two = page.low != nullptr;
  switch (n_heads) {
    case 1:
      return two ? BestKeysOfHeads<1, true>(page, b, stride, best) : BestKeysOfHeads<1, false>(page, b, stride, best);
    case 2:
      return two ? BestKeysOfHeads<2, true>(page, b, stride, best) : BestKeysOfHeads<2, false>(page, b, stride, best);
    case 3:
      return two ? BestKeysOfHeads<3, true>(page, b, stride, best) : BestKeysOfHeads<3, false>(page, b, stride, best);
    default:
      return two ? BestKeysOfHeads<4, true>(page, b, stride, best) : BestKeysOfHeads<4, false>(page, b, stride, best);
  }
}

// The score of every key of a page of code2.
inline void ScoreKeys(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, const KeyScores& to) {
  switch (n_heads) {
    case 1: return ScoreKeysOfHeads<1>(page, b, stride, to);
    case 2: return ScoreKeysOfHeads<2>(page, b, stride, to);
    case 3: return ScoreKeysOfHeads<3>(page, b, stride, to);
    default: return ScoreKeysOfHeads<4>(page, b, stride, to);
  }
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
