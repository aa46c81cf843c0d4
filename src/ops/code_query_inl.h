// The queries that code digests are scored with (code_kernels_inl.h), quantised once, and their products with the
// pages' widths. Compiled once per target (Highway's foreach_target).

#if defined(ARKVALE_OPS_CODE_QUERY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARKVALE_OPS_CODE_QUERY_INL_H_
#undef ARKVALE_OPS_CODE_QUERY_INL_H_
#else
#define ARKVALE_OPS_CODE_QUERY_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "base/f16.h"
#include "ops/code_kernels_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

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
    for (; begin < end; begin += kBatch) {
      const int n = static_cast<int>(std::min(kBatch, end - begin));
      item_.key_scores == nullptr ? AddBestKeysOfBatch(begin, n) : ScoreKeysOfBatch(begin, n);
    }
  }

  // Where scores of keys are written: token t of page i for head h to out[h * head_stride + i * page_stride + t].
  struct KeysOut {
    float* out;
    int64_t head_stride, page_stride;
  };

  // Of code2: scores of all keys. Page i of `pages` has its vectors at place i of the item's, its planes at place
  // pages[i]; q.(m + w/2) is bases[h * bases_stride + i].
  void ScoreKeysOf(std::span<const int32_t> pages, const float* bases, int64_t bases_stride,
                   const KeysOut& keys) const {
    const auto n_pages = static_cast<int64_t>(pages.size());
    for (int64_t begin = 0; begin < n_pages; begin += kBatch) {
      ScoreBatch(begin, static_cast<int>(std::min(kBatch, n_pages - begin)), bases, bases_stride, keys,
                 [&](int64_t i) { return int64_t{pages[i]}; });
    }
  }

 private:
  static constexpr int64_t kBatch = 8;

  static int64_t Stride(int64_t head_dim) { return CodeBlocks(head_dim) * kCodeBlock; }

  bool IsTwo() const { return args_.kind == DigestKind::kCode2; }

  PagePlanes Planes(int64_t page) const {
    const int64_t at = page * plane_bytes_;
    const auto* high = static_cast<const std::byte*>(item_.planes[0]) + at;
    const auto* low = IsTwo() ? static_cast<const std::byte*>(item_.planes[1]) + at : nullptr;
    return {high, low, args_.page_tokens, stride_ / kCodeBlock};
  }

  // What a head's sums of integers count, but for the page's step: 2^15 undoes the fixed-point product; one bit counts
  // double.
  float Step(int head) const { return steps_[head] * (IsTwo() ? 0x1p15f : 0x1p16f); }

  // Calls body(first head, n_heads, steps of the pages) with b_ of these heads and of the pages [begin, begin +
  // n_pages).
  template <class Body>
  HWY_INLINE void ForEachHeadGroup(int64_t begin, int n_pages, const Body& body) const {
    float page_steps[kBatch];
    switch (args_.type) {
      case DigestType::kF16: QuantiseWidths<f16_t>(begin, n_pages, page_steps); break;
      case DigestType::kF32: QuantiseWidths<float>(begin, n_pages, page_steps); break;
      case DigestType::kQ8: QuantiseWidths<int8_t>(begin, n_pages, page_steps); break;
    }
    for (int first = 0; first < args_.n_q_heads; first += kCodeHeads) {
      const int n_heads = std::min(kCodeHeads, args_.n_q_heads - first);
      for (int h = 0; h < n_heads; ++h) MultiplyWidths(first + h, h, n_pages);
      body(first, n_heads, page_steps);
    }
  }

  // Keys of pages [begin, begin + n_pages), whose planes lie at place page_at(page).
  template <class PageAt>
  HWY_INLINE void ScoreBatch(int64_t begin, int n_pages, const float* bases, int64_t bases_stride, const KeysOut& keys,
                             const PageAt& page_at) const {
    ForEachHeadGroup(begin, n_pages, [&](int first, int n_heads, const float* page_steps) HWY_ATTR {
      for (int i = 0; i < n_pages; ++i) {
        KeyScores to;
        to.out = keys.out + first * keys.head_stride + (begin + i) * keys.page_stride;
        to.stride = keys.head_stride;
        for (int h = 0; h < n_heads; ++h) {
          to.base[h] = bases[(first + h) * bases_stride + begin + i];
          to.step[h] = Step(first + h) * page_steps[i];
        }
        ScoreKeys(Planes(page_at(begin + i)), b_ + i * kCodeHeads * stride_, stride_, n_heads, to);
      }
    });
  }

  // AddBestKeysOfBatch that leaves the keys' scores too.
  HWY_NOINLINE void ScoreKeysOfBatch(int64_t begin, int n_pages) const {
    const int64_t p = args_.page_tokens;
    const KeysOut keys = {item_.key_scores, item_.n_pages * p, p};
    ScoreBatch(begin, n_pages, item_.scores, item_.n_pages, keys, [](int64_t page) { return page; });
    for (int h = 0; h < args_.n_q_heads; ++h) {
      for (int64_t page = begin; page < begin + n_pages; ++page) {
        item_.scores[h * item_.n_pages + page] = LargestOf(keys.out + h * keys.head_stride + page * p, p);
      }
    }
  }

  // n is a multiple of 8.
  static float LargestOf(const float* scores, int64_t n) {
    const hn::CappedTag<float, 8> d;
    auto most = hn::LoadU(d, scores);
    for (int64_t i = hn::MaxLanes(d); i < n; i += hn::MaxLanes(d)) most = hn::Max(most, hn::LoadU(d, scores + i));
    return hn::GetLane(hn::MaxOfLanes(d, most));
  }

  void AddBestKeysOfBatch(int64_t begin, int n_pages) const {
    ForEachHeadGroup(begin, n_pages, [&](int first, int n_heads, const float* page_steps) HWY_ATTR {
      int32_t best[kBatch][kCodeHeads];
      for (int i = 0; i < n_pages; ++i) {
        std::fill(best[i], best[i] + kCodeHeads, std::numeric_limits<int32_t>::min());
        BestKeys(Planes(begin + i), b_ + i * kCodeHeads * stride_, stride_, n_heads, best[i]);
      }
      for (int h = 0; h < n_heads; ++h) {
        const float step = Step(first + h);
        float* const scores = item_.scores + (first + h) * item_.n_pages + begin;
        for (int i = 0; i < n_pages; ++i) {
          scores[i] = MulAddFloats(step * page_steps[i], static_cast<float>(best[i][h]), scores[i]);
        }
      }
    });
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
  const int64_t plane_bytes_ = stride_ / 8 * args_.page_tokens;
  int16_t *q_, *b_, *w_;
  float *padded_, *steps_;  // [stride_], [n_q_heads]
};

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();
#endif
