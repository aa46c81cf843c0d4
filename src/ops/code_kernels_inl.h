// SIMD kernels of the code digests' scores: the largest sum over a page's keys of b_t u_t, with b_t = q_t w_t (rho_t)
// of page and query and the 1- or 2-bit codes u_t. Compiled once per target (Highway's foreach_target).
//
// b is quantised to 16 bits: q once per query and w per page to vectors of integers of Euclidean length kCodeNorm, and
// their products are rounded by the fixed-point multiplication. Then sum_t |b_t| < 2^15 (Cauchy-Schwarz), which is what
// lets 16-bit sums do where a bit is added as it is; and outlier dimensions cost no more than their share of the
// length. Integer sums are exact, so the bits of a score depend on nothing but page and query. ops/digest.h gives the
// error; on keys of real models 8 bits, which halve the work, change 1 % of the best pages.

#if defined(ARKVALE_OPS_CODE_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_CODE_KERNELS_INL_H_
#undef ARKVALE_OPS_CODE_KERNELS_INL_H_
#else
#define ARKVALE_OPS_CODE_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/f16.h"
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

#if HWY_TARGET == HWY_SCALAR

// Place of a dimension in QuantiseRow's order.
inline int64_t PairOrder(int64_t t) {
  const int64_t in_block = t % kCodeBlock;
  return t - in_block + in_block % (kCodeBlock / 2) * 2 + in_block / (kCodeBlock / 2);
}

inline void BestKeys(const PagePlanes& page, const int16_t* b, int64_t stride, int n_heads, int32_t* best) {
  for (int64_t token = 0; token < page.page_tokens; ++token) {
    int32_t sums[kCodeHeads] = {};
    for (int64_t t = 0; t < page.n_blocks * kCodeBlock; ++t) {
      const int64_t at = CodeByte(page.page_tokens, token, t);
      int32_t code = std::to_integer<int32_t>(page.high[at]) >> CodeBit(t) & 1;
      if (page.low != nullptr) code = 2 * code + (std::to_integer<int32_t>(page.low[at]) >> CodeBit(t) & 1);
      for (int h = 0; h < n_heads; ++h) sums[h] += code * b[h * stride + PairOrder(t)];
    }
    for (int h = 0; h < n_heads; ++h) best[h] = std::max(best[h], sums[h]);
  }
}

#else

// Tokens [token, token + n_tiles * kGroups * lanes): best[h] = max(best[h], sum_t b_t u_t).
template <class D32, int kHeads, int kGroups, bool kTwo>
void BestKeysOfTiles(D32 d32, const PagePlanes& page, int64_t token, int64_t n_tiles, const int16_t* b, int64_t stride,
                     int32_t* best) {
  const hn::Repartition<int16_t, D32> d16;
  const hn::Repartition<uint16_t, D32> du16;
  using V32 = hn::Vec<D32>;
  using VU16 = hn::Vec<decltype(du16)>;
  constexpr int64_t kLanes = hn::MaxLanes(D32());
  const auto load = [&](const std::byte* plane, int64_t block, int64_t first) HWY_ATTR {
    return hn::LoadU(du16, reinterpret_cast<const uint16_t*>(plane + (block * page.page_tokens + first) * 4));
  };
  V32 most[kHeads];
  for (int h = 0; h < kHeads; ++h) most[h] = hn::Set(d32, std::numeric_limits<int32_t>::min());
  for (int64_t tile = 0; tile < n_tiles; ++tile, token += kGroups * kLanes) {
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
      for (int g = 0; g < kGroups; ++g) most[h] = hn::Max(most[h], hn::Add(sum[h][g], sum2[h][g]));
    }
  }
  for (int h = 0; h < kHeads; ++h) best[h] = std::max(best[h], hn::GetLane(hn::MaxOfLanes(d32, most[h])));
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

template <int kHeads, bool kTwo>
void BestKeysOfHeads(const PagePlanes& page, const int16_t* b, int64_t stride, int32_t* best) {
  using D32 = hn::RebindToSigned<DF>;
  constexpr int kGroups = kN == 16 ? 2 : 1;  // as many sums as the registers hold
  const int64_t tiles = page.page_tokens / (kGroups * kN);
  if (tiles > 0) BestKeysOfTokens<D32, kHeads, kGroups, kTwo>(D32(), page, 0, tiles, b, stride, best);
  if constexpr (kN == 16) {  // pages are multiples of 8 tokens
    int64_t token = tiles * kGroups * kN;
    if (page.page_tokens - token >= kN) {
      BestKeysOfTokens<D32, kHeads, 1, kTwo>(D32(), page, token, 1, b, stride, best);
      token += kN;
    }
    using D8 = hn::CappedTag<int32_t, 8>;
    if (token < page.page_tokens) BestKeysOfTokens<D8, kHeads, 1, kTwo>(D8(), page, token, 1, b, stride, best);
  }
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

#endif  // HWY_SCALAR

// values [n], n a multiple of kCodeBlock -> nearest multiples of the returned step, integers of Euclidean length
// kCodeNorm, in the order of the planes' pairs: dimension j of a block, then 16 + j, for j = 0..15.
template <typename T>
HWY_INLINE float QuantiseRow(const T* values, int64_t n, int16_t* out) {
  const DF d;
  const hn::RebindToUnsigned<DF> du32;
  VF squares = hn::Zero(d);
  for (int64_t t = 0; t < n; t += kN) {
    const VF x = LoadRow(values + t);
    squares = hn::MulAdd(x, x, squares);
  }
  const float norm = std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares)));
  const float inverse = norm > 1e-18f ? kCodeNorm / norm : 0.0f;  // anything below counts as 0
  const VF factor = hn::Set(d, inverse);
  const VF magic = hn::Set(d, 0x1.8p23f);  // x + magic has the nearest integer of x in its last bits
  for (int64_t block = 0; block < n; block += kCodeBlock) {
    for (int64_t t = block; t < block + kCodeBlock / 2; t += kN) {
      const auto low = hn::BitCast(du32, hn::MulAdd(LoadRow(values + t), factor, magic));
      const auto high = hn::BitCast(du32, hn::MulAdd(LoadRow(values + t + kCodeBlock / 2), factor, magic));
      const auto pairs = hn::Or(hn::ShiftLeft<16>(high), hn::And(low, hn::Set(du32, 0xffffu)));
      hn::StoreU(pairs, du32, reinterpret_cast<uint32_t*>(out + block + 2 * (t - block)));
    }
  }
  return norm / kCodeNorm;
}

// The queries of an item, quantised, and room for a batch of pages: all their factors are ready before the first plane
// is read, so that the chain of latencies behind them is paid once per batch.
class CodeQuery {
 public:
  CodeQuery(const DigestScoreArgs& args, const DigestScoreItem& item, void* scratch)
      : args_(args), item_(item), stride_(Stride(args.head_dim)) {
    q_ = static_cast<int16_t*>(scratch);
    b_ = q_ + args.n_q_heads * stride_;
    w_ = b_ + kBatch * kCodeHeads * stride_;
    padded_ = reinterpret_cast<float*>(w_ + kBatch * stride_);
    steps_ = padded_ + stride_;
    std::fill(padded_, padded_ + stride_, 0.0f);
    for (int h = 0; h < args.n_q_heads; ++h) {
      steps_[h] = Quantise(item.q + h * args.head_dim, q_ + h * stride_);
    }
  }
  static int64_t ScratchBytes(int64_t head_dim, int n_heads) {
    return (n_heads + kBatch * (kCodeHeads + 1)) * Stride(head_dim) * static_cast<int64_t>(sizeof(int16_t)) +
           (Stride(head_dim) + n_heads) * static_cast<int64_t>(sizeof(float));
  }

  // scores[h, page] += the largest code sum of the page's keys, for pages [begin, end).
  void AddBestKeys(int64_t begin, int64_t end) const {
    for (; begin < end; begin += kBatch) AddBestKeysOfBatch(begin, static_cast<int>(std::min(kBatch, end - begin)));
  }

 private:
  static constexpr int64_t kBatch = 8;

  static int64_t Stride(int64_t head_dim) { return CodeBlocks(head_dim) * kCodeBlock; }

  void AddBestKeysOfBatch(int64_t begin, int n_pages) const {
    const bool two = args_.kind == DigestKind::kCode2;
    const int64_t plane_bytes = stride_ / 8 * args_.page_tokens, n_all_pages = item_.n_pages;
    float page_steps[kBatch];
    switch (args_.type) {
      case DigestType::kF16: QuantiseWidths<f16_t>(begin, n_pages, page_steps); break;
      case DigestType::kF32: QuantiseWidths<float>(begin, n_pages, page_steps); break;
      case DigestType::kQ8: QuantiseWidths<int8_t>(begin, n_pages, page_steps); break;
    }
    for (int first = 0; first < args_.n_q_heads; first += kCodeHeads) {
      const int n_heads = std::min(kCodeHeads, args_.n_q_heads - first);
      for (int h = 0; h < n_heads; ++h) MultiplyWidths(first + h, h, n_pages);
      int32_t best[kBatch][kCodeHeads];
      for (int i = 0; i < n_pages; ++i) {
        const int64_t page = begin + i;
        const auto* high = static_cast<const std::byte*>(item_.planes[0]) + page * plane_bytes;
        const auto* low = two ? static_cast<const std::byte*>(item_.planes[1]) + page * plane_bytes : nullptr;
        std::fill(best[i], best[i] + kCodeHeads, std::numeric_limits<int32_t>::min());
        BestKeys({high, low, args_.page_tokens, stride_ / kCodeBlock}, b_ + i * kCodeHeads * stride_, stride_, n_heads,
                 best[i]);
      }
      for (int h = 0; h < n_heads; ++h) {
        // 2^15 undoes the fixed-point product; one bit counts double.
        const float step = steps_[first + h] * (two ? 0x1p15f : 0x1p16f);
        float* const scores = item_.scores + (first + h) * n_all_pages + begin;
        for (int i = 0; i < n_pages; ++i) scores[i] += step * page_steps[i] * static_cast<float>(best[i][h]);
      }
    }
  }

  // Rows of w_ = the second vectors of pages [begin, begin + n_pages) in steps of the sizes written to `steps`.
  template <typename T>
  void QuantiseWidths(int64_t begin, int n_pages, float* steps) const {
    const int64_t d = args_.head_dim;
    if constexpr (sizeof(T) == 1) {
      const int64_t header = Q8HeaderBytes(args_.kind), bytes = header + 2 * d;
      for (int i = 0; i < n_pages; ++i) {
        const T* vectors = static_cast<const T*>(item_.vectors) + (begin + i) * bytes;
        f16_t scale;
        std::memcpy(&scale, vectors + sizeof(scale), sizeof(scale));
        steps[i] = F16ToF32(scale) * Quantise(vectors + header + d, w_ + i * stride_);
      }
    } else {
      const T* vectors = static_cast<const T*>(item_.vectors) + 2 * begin * d;
      for (int i = 0; i < n_pages; ++i) steps[i] = Quantise(vectors + (2 * i + 1) * d, w_ + i * stride_);
    }
  }

  // A row of head_dim, the rest of its last block being 0.
  template <typename T>
  HWY_INLINE float Quantise(const T* row, int16_t* out) const {
    if (args_.head_dim == stride_) return QuantiseRow(row, stride_, out);
    const RowCut cut(args_.head_dim);
    for (int64_t i = 0; i < cut.n_vec; ++i) {
      const VF x =
          cut.is_short() ? LoadPart<true>(row, 0, cut.length) : LoadPart<false>(row, cut.offset(i), cut.length);
      hn::StoreU(x, DF(), padded_ + cut.offset(i));
    }
    return QuantiseRow(padded_, stride_, out);
  }

  // Row `h` of each page's b_ = q w / 2^15, rounded, of query head `head`.
  void MultiplyWidths(int head, int h, int n_pages) const {
    const hn::ScalableTag<int16_t> d16;
    constexpr int64_t kLanes = hn::MaxLanes(d16);
    const int64_t stride = stride_;
    for (int64_t t = 0; t < stride; t += kLanes) {
      const auto q = hn::LoadU(d16, q_ + head * stride + t);
      const int16_t* w = w_ + t;
      int16_t* b = b_ + h * stride + t;
      for (int i = 0; i < n_pages; ++i, w += stride, b += kCodeHeads * stride) {
        hn::StoreU(hn::MulFixedPoint15(q, hn::LoadU(d16, w)), d16, b);
      }
    }
  }

  const DigestScoreArgs& args_;
  const DigestScoreItem& item_;
  const int64_t stride_;  // int16 per row: q_ [n_q_heads], b_ [kBatch, kCodeHeads], w_ [kBatch] rows
  int16_t *q_, *b_, *w_;
  float *padded_, *steps_;  // [stride_], [n_q_heads]
};

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
