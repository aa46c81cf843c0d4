// SIMD kernels that score the 8-bit vectors of digests (digest_layout.h). Compiled once per target (Highway's
// foreach_target).
//
// A query is rounded once to integers of 28 bits, kept as a high and a low part, which digests are multiplied with in
// pairs of 16-bit integers and summed in 32 bits. These sums are exact, so the bits of a score depend on nothing but
// page and query, and it is off by a few f32 roundings only. A query of 16 bits would halve the multiplications for
// roundings many times those of f32; but it is memory that these wait for.

#if defined(ARKVALE_OPS_Q8_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_Q8_KERNELS_INL_H_
#undef ARKVALE_OPS_Q8_KERNELS_INL_H_
#else
#define ARKVALE_OPS_Q8_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/f16.h"
#include "ops/digest_layout.h"
#include "ops/row_loads_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

using DI32 = hn::RebindToSigned<DF>;
using VI32 = hn::Vec<DI32>;

// Elements of a digest that are read at once, and vectors in flight: their two sums each fill one vector of sums.
constexpr int64_t kQ8Lanes = kN == 1 ? 1 : 2 * kN;
constexpr int kQ8Rows = kN == 1 ? 2 : static_cast<int>(kN / 2);

// Where the reads of a vector of int8 start: RowCut's way for wider reads.
struct Q8Cut {
  explicit Q8Cut(int64_t row_length)
      : length(row_length),
        n_reads((row_length + kQ8Lanes - 1) / kQ8Lanes),
        last(std::max<int64_t>(0, row_length - kQ8Lanes)) {}
  int64_t offset(int64_t i) const { return i + 1 < n_reads ? i * kQ8Lanes : last; }
  int64_t padded() const { return n_reads * kQ8Lanes; }
  bool is_short() const { return length < kQ8Lanes; }

  int64_t length, n_reads, last;
};

#if HWY_TARGET == HWY_SCALAR

// sums [kQ8Rows, 2]: the dot products of kQ8Rows vectors of length cut.length, kVectors in each of `pages`, with the
// high and the low parts of the query q [kVectors, 2, cut.padded()].
template <int kVectors, bool kShort, int kReads>
void Q8Block(const Q8Cut& cut, const int8_t* const* pages, const int16_t* q, int32_t* sums) {
  for (int r = 0; r < kQ8Rows; ++r) {
    const int vector = r % kVectors;
    const int8_t* const row = pages[r / kVectors] + vector * cut.length;
    const int16_t* const high = q + 2 * vector * cut.padded();
    const int16_t* const low = high + cut.padded();
    sums[2 * r] = sums[2 * r + 1] = 0;
    for (int64_t t = 0; t < cut.length; ++t) {
      sums[2 * r] += row[t] * high[t];
      sums[2 * r + 1] += row[t] * low[t];
    }
  }
}

#else

template <bool kShort>
HWY_INLINE hn::Vec<hn::Repartition<int16_t, DI32> > LoadQ8(const int8_t* row, int64_t offset, int64_t length) {
  const hn::Repartition<int16_t, DI32> d16;
  const hn::Rebind<int8_t, decltype(d16)> d8;
  if constexpr (kShort) {
    HWY_ALIGN int8_t copy[kQ8Lanes] = {};
    std::memcpy(copy, row, length);
    return hn::PromoteTo(d16, hn::Load(d8, copy));
  }
  return hn::PromoteTo(d16, hn::LoadU(d8, row + offset));
}

// sums [kQ8Rows, 2]: the dot products of kQ8Rows vectors of length cut.length, kVectors in each of `pages`, with the
// high and the low parts of the query q [kVectors, 2, cut.padded()]. kReads: cut.n_reads, which unrolls the loop, or 0.
template <int kVectors, bool kShort, int kReads>
HWY_INLINE void Q8Block(const Q8Cut& cut, const int8_t* const* pages, const int16_t* HWY_RESTRICT q, int32_t* sums) {
  const DI32 d32;
  const hn::Repartition<int16_t, DI32> d16;
  using V16 = hn::Vec<decltype(d16)>;
  VI32 acc[2 * kQ8Rows], acc2[2 * kQ8Rows];  // acc2: ReorderWidenMulAccumulate's own, 0 on x86
  for (int i = 0; i < 2 * kQ8Rows; ++i) acc[i] = acc2[i] = hn::Zero(d32);
  const int64_t n_reads = kReads > 0 ? kReads : cut.n_reads;
#pragma GCC unroll 4
  for (int64_t i = 0; i < n_reads; ++i) {
    const int64_t at = cut.offset(i);
    V16 parts[2 * kVectors];
#pragma GCC unroll 4
    for (int p = 0; p < 2 * kVectors; ++p) parts[p] = hn::LoadU(d16, q + p * cut.padded() + i * kQ8Lanes);
#pragma GCC unroll 8
    for (int r = 0; r < kQ8Rows; ++r) {
      const int vector = r % kVectors;
      const V16 x = LoadQ8<kShort>(pages[r / kVectors] + vector * cut.length, at, cut.length);
#pragma GCC unroll 2
      for (int p = 0; p < 2; ++p) {
        const int a = 2 * r + p;
        acc[a] = hn::ReorderWidenMulAccumulate(d32, x, parts[2 * vector + p], acc[a], acc2[a]);
      }
    }
  }
  for (int i = 0; i < 2 * kQ8Rows; ++i) acc[i] = hn::Add(acc[i], acc2[i]);
  constexpr int kFolded = kQ8Rows / 2;
  hn::StoreU(SumBlocks(FoldHeads<kFolded, 4>(acc), FoldHeads<kFolded, 4>(acc + 1), FoldHeads<kFolded, 4>(acc + 2),
                       FoldHeads<kFolded, 4>(acc + 3)),
             d32, sums);
}

#endif  // HWY_SCALAR

// What a batch of pages' digests give for one query: sums [n_pages, n_vectors, 2], and their scales or r.
struct Q8Sums {
  static constexpr int64_t kPages = 64;
  HWY_ALIGN int32_t sums[4 * kPages];
  HWY_ALIGN f16_t scales[2][kPages];
};

// The queries of an item, rounded.
class Q8Queries {
 public:
  // scratch: ScratchBytes, aligned to vectors of floats.
  Q8Queries(DigestKind kind, int64_t head_dim, int n_queries, void* scratch)
      : cut_(head_dim),
        n_vectors_(IsCuboid(kind) || IsCode(kind) ? 2 : 1),
        header_bytes_(Q8HeaderBytes(kind)),
        page_bytes_(header_bytes_ + n_vectors_ * head_dim),
        is_sphere_(IsSphere(kind)),
        n_queries_(n_queries) {
    // Parts reach 2^bits and int8 2^7, so that from 1,024 dimensions on the sums hold fewer bits of the query.
    while (part_bits_ > 1 && head_dim << (7 + part_bits_) > std::numeric_limits<int32_t>::max()) --part_bits_;
    parts_ = static_cast<int16_t*>(scratch);
    padded_ = reinterpret_cast<float*>(parts_ + n_queries * 2 * n_vectors_ * cut_.padded());
    factors_ = reinterpret_cast<Factors*>(padded_ + n_vectors_ * cut_.padded());
  }
  static int64_t ScratchBytes(int64_t head_dim, int n_queries) {
    const int64_t elements = 2 * Q8Cut(head_dim).padded();
    const int64_t bytes = elements * static_cast<int64_t>(sizeof(float)) +
                          n_queries * (2 * elements * static_cast<int64_t>(sizeof(int16_t)) + int64_t{sizeof(Factors)});
    return (bytes + 63) / 64 * 64;
  }

  // Query i = split [DigestLength].
  void Set(int i, const float* split) {
    const int64_t d = cut_.length, padded = cut_.padded(), whole = d / kQ8Lanes * kQ8Lanes;
    std::fill(padded_, padded_ + n_vectors_ * padded, 0.0f);
    for (int v = 0; v < n_vectors_; ++v) {  // elements that two reads cover count in the first
      std::copy(split + v * d, split + v * d + whole, padded_ + v * padded);
      std::copy(split + v * d + whole, split + (v + 1) * d, padded_ + v * padded + (whole - cut_.last) + whole);
    }
    factors_[i] = {Round(parts_ + i * 2 * n_vectors_ * padded), is_sphere_ ? split[d] : 0.0f};
  }

  // scores[h * scores_stride + p] = the score for query h of page p in [begin, end) of `pages`.
  void Score(const std::byte* pages, int64_t begin, int64_t end, float* scores, int64_t scores_stride) const {
    PrefetchShare(pages + begin * page_bytes_, 0, std::min(kAheadBytes, (end - begin) * page_bytes_));
    for (int64_t first = begin; first < end; first += Q8Sums::kPages) {
      const int64_t n = std::min(Q8Sums::kPages, end - first);
      const auto* const batch = reinterpret_cast<const int8_t*>(pages + first * page_bytes_);
      for (int h = 0; h < n_queries_; ++h) {
        const int64_t ahead = h == 0 && (end - first) * page_bytes_ > kAheadBytes ? kAheadBytes : 0;
        float* const out = scores + h * scores_stride + first;
        n_vectors_ == 2 ? ScoreBatch<2>(batch, n, h, ahead, out) : ScoreBatch<1>(batch, n, h, ahead, out);
      }
    }
  }

 private:
  // Memory is asked for so far ahead. One Zen 5 core through 81 MB of digests: 31 GB/s, 20 without, 28 with 32 KB.
  static constexpr int64_t kAheadBytes = 8192;

  struct Factors {
    float step;    // of the rounded query
    float second;  // what a sphere's r is multiplied with
  };

  // padded_ [n_vectors, padded] -> parts [n_vectors, 2, padded] and the step that they count: a power of 2, at most
  // 2^(1 - 2 part_bits) of the largest element; NaN if an element is not finite.
  float Round(int16_t* parts) const {
    const DF d;
    const DI32 d32;
    const hn::Rebind<int16_t, DF> d16;
    const int64_t padded = cut_.padded();
    VF most = hn::Zero(d), wrong = hn::Zero(d);  // wrong: NaN where an element is not finite
    for (int64_t t = 0; t < n_vectors_ * padded; t += kN) {
      const VF x = hn::LoadU(d, padded_ + t);
      most = hn::Max(most, hn::Abs(x));
      wrong = hn::MulAdd(x, hn::Zero(d), wrong);
    }
    const bool finite = std::isfinite(hn::GetLane(hn::SumOfLanes(d, wrong)));
    int exponent = 0;
    if (finite) std::frexp(hn::GetLane(hn::MaxOfLanes(d, most)), &exponent);
    const int shift = std::min(2 * part_bits_ - exponent, 126);  // the step and its inverse are normal numbers
    const VF inverse = hn::Set(d, std::ldexp(1.0f, shift));
    const VI32 low_bits = hn::Set(d32, (1 << part_bits_) - 1);
    for (int64_t v = 0; v < n_vectors_; ++v) {
      for (int64_t t = 0; t < padded; t += kN) {
        const VF x = finite ? hn::LoadU(d, padded_ + v * padded + t) : hn::Zero(d);
        const VI32 whole = hn::NearestInt(hn::Mul(x, inverse));
        hn::StoreU(hn::DemoteTo(d16, hn::ShiftRightSame(whole, part_bits_)), d16, parts + 2 * v * padded + t);
        hn::StoreU(hn::DemoteTo(d16, hn::And(whole, low_bits)), d16, parts + (2 * v + 1) * padded + t);
      }
    }
    return finite ? std::ldexp(1.0f, -shift) : std::numeric_limits<float>::quiet_NaN();
  }

  template <int kVectors>
  void ScoreBatch(const int8_t* pages, int64_t n_pages, int query, int64_t ahead, float* scores) const {
    Q8Sums sums;
    if (cut_.is_short()) {
      SumBatch<kVectors, true, 0>(pages, n_pages, query, ahead, sums);
    } else if (cut_.n_reads == 2) {
      SumBatch<kVectors, false, 2>(pages, n_pages, query, ahead, sums);
    } else if (cut_.n_reads == 4) {
      SumBatch<kVectors, false, 4>(pages, n_pages, query, ahead, sums);
    } else {
      SumBatch<kVectors, false, 0>(pages, n_pages, query, ahead, sums);
    }
    WeighBatch<kVectors>(n_pages, query, sums, scores);
  }

  template <int kVectors, bool kShort, int kReads>
  void SumBatch(const int8_t* pages, int64_t n_pages, int query, int64_t ahead, Q8Sums& sums) const {
    constexpr int kPages = kQ8Rows / kVectors;
    const int16_t* const q = parts_ + query * 2 * kVectors * cut_.padded();
    const int64_t bytes = page_bytes_, header = kVectors == 2 ? 4 : header_bytes_;
    for (int64_t first = 0; first < n_pages; first += kPages) {
      const int8_t* page[kPages];
      const int8_t* digest = pages + first * bytes;
      if (ahead > 0) PrefetchShare(reinterpret_cast<const std::byte*>(digest + ahead), 0, kPages * bytes);
      for (int i = 0; i < kPages; ++i) {
        f16_t scales[2] = {0, 0};
        std::memcpy(scales, digest, sizeof(f16_t));
        if (header > 2) std::memcpy(scales + 1, digest + sizeof(f16_t), sizeof(f16_t));
        sums.scales[0][first + i] = scales[0];
        sums.scales[1][first + i] = scales[1];
        page[i] = digest + header;
        if (first + i + 1 < n_pages) digest += bytes;  // else the last page once more
      }
      Q8Block<kVectors, kShort, kReads>(cut_, page, q, sums.sums + first * 2 * kVectors);
    }
  }

  template <int kVectors>
  void WeighBatch(int64_t n_pages, int query, const Q8Sums& sums, float* scores) const {
    const DF d;
    const DI32 d32;
    const VF unit = hn::Set(d, static_cast<float>(1 << part_bits_)), step = hn::Set(d, factors_[query].step);
    const auto join = [&](VI32 high, VI32 low) HWY_ATTR {
      return hn::Mul(hn::MulAdd(hn::ConvertTo(d, high), unit, hn::ConvertTo(d, low)), step);
    };
    for (int64_t i = 0; i < n_pages; i += kN) {
      VI32 high, low;
      VF second = hn::Set(d, factors_[query].second);
      if constexpr (kVectors == 2) {
        VI32 high2, low2;
        hn::LoadInterleaved4(d32, sums.sums + 4 * i, high, low, high2, low2);
        second = join(high2, low2);
      } else {
        hn::LoadInterleaved2(d32, sums.sums + 2 * i, high, low);
      }
      const VF score =
          hn::MulAdd(second, LoadRow(sums.scales[1] + i), hn::Mul(join(high, low), LoadRow(sums.scales[0] + i)));
      if (i + kN <= n_pages) {
        hn::StoreU(score, d, scores + i);
      } else {
        HWY_ALIGN float last[kN];
        hn::Store(score, d, last);
        std::copy(last, last + n_pages - i, scores + i);
      }
    }
  }

  Q8Cut cut_;
  int n_vectors_;
  int64_t header_bytes_, page_bytes_;
  bool is_sphere_;
  int n_queries_;
  int part_bits_ = 14;
  int16_t* parts_;    // [n_queries, n_vectors, 2, padded]
  float* padded_;     // [n_vectors, padded]: a query that is being rounded
  Factors* factors_;  // [n_queries]
};

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
