// Attention over codes. Tasks are (item, partition of a fixed number of listed pages), joined like those of paged
// attention.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/zone_attention_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/attention_partials_inl.h"
#include "ops/code_query_inl.h"
#include "ops/q8_kernels_inl.h"
#include "ops/row_kernels_inl.h"
#include "ops/value_kernels_inl.h"

#ifndef ARKVALE_OPS_ZONE_ATTENTION_CPU_ONCE_
#define ARKVALE_OPS_ZONE_ATTENTION_CPU_ONCE_

#include <atomic>
#include <cmath>
#include <limits>
#include <new>

#include "ops/cpu_kernels.h"
#include "ops/digest_layout.h"
#include "ops/value_code_layout.h"

namespace arkvale {

constexpr int64_t kZonePartitionTokens = 512;

struct ZoneTask {
  int64_t item, part, n_parts;
  int64_t first_partial;  // of the item
};

// Sizes that all tasks of a call share.
struct ZoneShape {
  explicit ZoneShape(const ZoneAttentionArgs& args)
      : pages_per_part(std::max<int64_t>(1, kZonePartitionTokens / args.page_tokens)),
        vector_bytes(
            MakeDigestLayout(DigestKind::kCode2, args.digest_type, args.page_tokens, args.head_dim_k)->vector_bytes),
        value_bytes(MakeValueCodeLayout(args.value_bits, args.page_tokens, args.head_dim_v)->page_bytes),
        coded_dim(CodedDim(args.head_dim_v)) {}

  int64_t pages_per_part, vector_bytes, value_bytes, coded_dim;
};

struct ZoneJob {
  const ZoneAttentionArgs* args;
  const ZoneShape* shape;
  const ZoneTask* tasks;
  std::atomic<int32_t>* counters;  // of items
  float* partials;
  Workspace* workspace;
};

// Hands out pieces of a block of memory at whole cache lines; of no memory, to learn how much is needed.
class Pieces {
 public:
  explicit Pieces(std::byte* memory) : memory_(memory) {}
  template <typename T>
  T* Take(int64_t n) {
    T* const piece = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* memory_;
  int64_t used_ = 0;
};

inline const std::byte* PageAt(const void* base, int64_t page, int64_t page_bytes) {
  return static_cast<const std::byte*>(base) + page * page_bytes;
}

inline void PrefetchPage(const std::byte* page, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(page + at);
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_ZONE_ATTENTION_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

struct ZoneScratch {
  ZoneScratch(const ZoneAttentionArgs& args, const ZoneShape& shape, Pieces& pieces)
      : page_stride((args.page_tokens + kN - 1) / kN * kN), stride(shape.pages_per_part * page_stride) {
    const int64_t heads = args.n_q_heads, pages = shape.pages_per_part;
    const bool is_q8 = args.digest_type == DigestType::kQ8;
    scores = pieces.Take<float>(heads * stride);
    bases = pieces.Take<float>(heads * pages);
    sums = pieces.Take<float>(heads * shape.coded_dim);
    split = pieces.Take<float>(2 * args.head_dim_k);
    packed = pieces.Take<float>(is_q8 ? 0 : heads * RowCut(2 * args.head_dim_k).padded());
    q8 = pieces.Take<std::byte>(is_q8 ? Q8Queries::ScratchBytes(args.head_dim_k, args.n_q_heads) : 0);
    codes = pieces.Take<std::byte>(CodeQuery::ScratchBytes(args.head_dim_k, args.n_q_heads));
    vectors = pieces.Take<std::byte>(pages * shape.vector_bytes);
    used = pieces.used();
  }

  int64_t page_stride, stride, used;  // in `scores`: from page to page, from head to head
  float *scores, *bases, *sums;       // [heads, stride], [heads, pages], [heads, coded_dim]
  float *split, *packed;              // one query [q | q/2], all of them in RowCut's layout
  std::byte *q8, *codes, *vectors;    // vectors: of the partition's pages, side by side
};

// bases[h, i] = q_h . (m + w/2) of page i.
void ScoreBoxes(const ZoneAttentionArgs& args, const ZoneAttentionItem& item, int64_t n_pages, const ZoneScratch& s,
                int64_t bases_stride) {
  const int64_t d = args.head_dim_k;
  const RowCut cut(2 * d);
  Q8Queries q8(DigestKind::kCode2, d, args.n_q_heads, s.q8);
  for (int h = 0; h < args.n_q_heads; ++h) {
    const float* const q = item.q + h * d;
    std::copy(q, q + d, s.split);
    std::transform(q, q + d, s.split + d, [](float x) { return 0.5f * x; });
    if (args.digest_type == DigestType::kQ8) {
      q8.Set(h, s.split);
    } else {
      PackRow(cut, s.split, 1.0f, s.packed + h * cut.padded());
    }
  }
  switch (args.digest_type) {
    case DigestType::kF16:
      return DotRows(cut, reinterpret_cast<const f16_t*>(s.vectors), n_pages, s.packed, args.n_q_heads, s.bases,
                     bases_stride, nullptr);
    case DigestType::kF32:
      return DotRows(cut, reinterpret_cast<const float*>(s.vectors), n_pages, s.packed, args.n_q_heads, s.bases,
                     bases_stride, nullptr);
    case DigestType::kQ8: return q8.Score(s.vectors, 0, n_pages, s.bases, bases_stride);
  }
}

inline void PrefetchValues(const ZoneShape& shape, const ZoneAttentionItem& item, std::span<const int32_t> pages) {
  for (const int32_t page : pages) {
    PrefetchPage(PageAt(item.values, page, shape.value_bytes), shape.value_bytes);
  }
}

// s.scores = estimates of q.k for the keys of the pages.
void EstimateKeys(const ZoneAttentionArgs& args, const ZoneShape& shape, const ZoneAttentionItem& item,
                  std::span<const int32_t> pages, const ZoneScratch& s) {
  const auto n_pages = static_cast<int64_t>(pages.size());
  const int64_t plane_bytes = CodeBlocks(args.head_dim_k) * kCodeBlock / 8 * args.page_tokens;
  for (const int32_t page : pages) {
    PrefetchPage(PageAt(item.vectors, page, shape.vector_bytes), shape.vector_bytes);
    for (const void* plane : item.planes) PrefetchPage(PageAt(plane, page, plane_bytes), plane_bytes);
  }
  for (int64_t i = 0; i < n_pages; ++i) {
    std::memcpy(s.vectors + i * shape.vector_bytes, PageAt(item.vectors, pages[i], shape.vector_bytes),
                shape.vector_bytes);
  }
  PrefetchValues(shape, item, pages);  // they are needed when the scores are there
  ScoreBoxes(args, item, n_pages, s, shape.pages_per_part);
  const DigestScoreArgs score_args{.kind = DigestKind::kCode2,
                                   .type = args.digest_type,
                                   .page_tokens = args.page_tokens,
                                   .head_dim = args.head_dim_k,
                                   .n_q_heads = args.n_q_heads,
                                   .items = {}};
  DigestScoreItem score_item;
  score_item.vectors = s.vectors;
  std::copy(item.planes, item.planes + 2, score_item.planes);
  score_item.n_pages = n_pages;
  score_item.q = item.q;
  CodeQuery(score_args, score_item, s.codes)
      .ScoreKeysOf(pages, s.bases, shape.pages_per_part, {s.scores, s.stride, s.page_stride});
}

// to = scale * from, n a multiple of 8; from may be to.
template <class D>
HWY_INLINE void ScaleRow(D d, const float* from, int64_t n, float scale, float* to) {
  const auto factor = hn::Set(d, scale);
  for (int64_t i = 0; i < n; i += static_cast<int64_t>(hn::MaxLanes(d))) {
    hn::StoreU(hn::Mul(factor, hn::LoadU(d, from + i)), d, to + i);
  }
}

// s.scores = attention scores but for the softcap: of the estimates that are there, or that DigestScore left.
void ScaleKeys(const ZoneAttentionArgs& args, const ZoneAttentionItem& item, std::span<const int32_t> pages,
               const ZoneScratch& s) {
  const int64_t p = args.page_tokens;
  for (int h = 0; h < args.n_q_heads; ++h) {
    for (size_t i = 0; i < pages.size(); ++i) {
      float* const to = s.scores + h * s.stride + static_cast<int64_t>(i) * s.page_stride;
      const float* const from = item.key_scores == nullptr ? to : item.key_scores + (h * item.n_pages + pages[i]) * p;
      p % kN == 0 ? ScaleRow(DF(), from, p, args.scale, to)
                  : ScaleRow(hn::CappedTag<float, 8>(), from, p, args.scale, to);
    }
  }
}

// Scores -> exp(score - max) of one head, 0 between the pages. Returns through max and sum.
void WeighKeys(const ZoneAttentionArgs& args, int64_t n_pages, const ZoneScratch& s, float* scores, float* max,
               float* sum) {
  const int64_t n = n_pages * s.page_stride;
  if (args.softcap > 0) CapScores(scores, n, args.softcap);
  if (s.page_stride > args.page_tokens) {
    for (int64_t i = 0; i < n; i += s.page_stride) {
      std::fill(scores + i + args.page_tokens, scores + i + s.page_stride, -std::numeric_limits<float>::infinity());
    }
  }
  SoftmaxRow(scores, n, max, sum);
}

// s.sums[h, dim] = sum of weight * value over the tokens of the pages.
template <int kBits>
void SumValues(const ZoneAttentionArgs& args, const ZoneShape& shape, const ZoneAttentionItem& item,
               std::span<const int32_t> pages, const ZoneScratch& s) {
  const int64_t p = args.page_tokens, header = ValueHeaderBytes(p), token_bytes = shape.coded_dim * kBits / 8;
  std::fill(s.sums, s.sums + args.n_q_heads * shape.coded_dim, 0.0f);
  StripSteps steps;
  for (int first = 0; first < args.n_q_heads; first += kValueHeads) {
    const int n_heads = std::min(kValueHeads, args.n_q_heads - first);
    float* const sums = s.sums + first * shape.coded_dim;
    StripWeights weights[kValueHeads];
    for (size_t i = 0; i < pages.size(); ++i) {
      const std::byte* const page = PageAt(item.values, pages[i], shape.value_bytes);
      const auto* const codes = reinterpret_cast<const uint8_t*>(page + header);
      for (int64_t token = 0; token < p; token += kStripTokens) {
        const int64_t n = std::min(kStripTokens, p - token);
        LoadSteps(page, p, token, n, steps);
        for (int h = 0; h < n_heads; ++h) {
          const float* const of_head = s.scores + (first + h) * s.stride + static_cast<int64_t>(i) * s.page_stride;
          RoundWeights<kBits>(of_head + token, n, steps, weights[h]);
        }
        SumStrip<kBits>(codes + token * token_bytes, n, shape.coded_dim, weights, n_heads, sums, shape.coded_dim);
      }
    }
    for (int h = 0; h < n_heads; ++h) {
      const float floors = hn::GetLane(hn::SumOfLanes(DF(), hn::Load(DF(), weights[h].floors)));
      float* const of_head = sums + h * shape.coded_dim;
      std::transform(of_head, of_head + shape.coded_dim, of_head, [&](float x) { return x + floors; });
    }
  }
}

void AttendZonePart(const ZoneAttentionArgs& args, const ZoneShape& shape, const ZoneAttentionItem& item,
                    std::span<const int32_t> pages, const ZoneScratch& s, float* partial) {
  const RowCut cut(args.head_dim_v);
  const auto n_pages = static_cast<int64_t>(pages.size());
  if (n_pages > 0) {
    item.key_scores == nullptr ? EstimateKeys(args, shape, item, pages, s) : PrefetchValues(shape, item, pages);
    ScaleKeys(args, item, pages, s);
  }
  for (int h = 0; h < args.n_q_heads; ++h) {
    float* const head = partial + h * (2 + cut.padded());
    head[0] = -std::numeric_limits<float>::infinity();
    head[1] = 0;
    if (n_pages > 0) WeighKeys(args, n_pages, s, s.scores + h * s.stride, &head[0], &head[1]);
  }
  args.value_bits == 2 ? SumValues<2>(args, shape, item, pages, s) : SumValues<4>(args, shape, item, pages, s);
  for (int h = 0; h < args.n_q_heads; ++h) {
    PackRow(cut, s.sums + h * shape.coded_dim, 1.0f, partial + h * (2 + cut.padded()) + 2);
  }
}

void RunZoneTask(const ZoneJob& job, int64_t index, int thread) {
  const ZoneAttentionArgs& args = *job.args;
  const ZoneShape& shape = *job.shape;
  const ZoneTask& task = job.tasks[index];
  const ZoneAttentionItem& item = args.items[task.item];
  const RowCut cut(args.head_dim_v);
  Pieces none(nullptr);
  Pieces pieces(static_cast<std::byte*>(job.workspace->PerThread(thread, ZoneScratch(args, shape, none).used)));
  const ZoneScratch scratch(args, shape, pieces);
  const int64_t partial_floats = args.n_q_heads * (2 + cut.padded());
  float* const first = job.partials + task.first_partial * partial_floats;
  const int64_t begin = task.part * shape.pages_per_part, n_listed = std::ssize(item.pages);
  const auto pages = item.pages.subspan(begin, std::min(shape.pages_per_part, n_listed - begin));
  AttendZonePart(args, shape, item, pages, scratch, first + task.part * partial_floats);
  if (task.n_parts == 1 || job.counters[task.item].fetch_add(1, std::memory_order_acq_rel) + 1 == task.n_parts) {
    JoinPartials(cut, task.n_parts, args.n_q_heads, first, item.out, item.lse);
  }
}

int64_t PaddedZoneDim(int64_t head_dim_v) { return RowCut(head_dim_v).padded(); }

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunZoneTask);
HWY_EXPORT(PaddedZoneDim);

namespace cpu {

Status ZoneAttention(const OpContext& ctx, const ZoneAttentionArgs& args) {
  const ZoneShape shape(args);
  const auto parts_of = [&](const ZoneAttentionItem& item) {  // an empty zone is one empty partition
    return std::max<int64_t>(1, (std::ssize(item.pages) + shape.pages_per_part - 1) / shape.pages_per_part);
  };
  const auto n_items = std::ssize(args.items);
  int64_t n_tasks = 0;
  for (const ZoneAttentionItem& item : args.items) n_tasks += parts_of(item);
  const int64_t partial_floats = args.n_q_heads * (2 + HWY_DYNAMIC_DISPATCH(PaddedZoneDim)(args.head_dim_v));
  auto* tasks = static_cast<ZoneTask*>(ctx.workspace->Shared(0, n_tasks * sizeof(ZoneTask)));
  auto* counters = static_cast<std::atomic<int32_t>*>(ctx.workspace->Shared(1, n_items * sizeof(std::atomic<int32_t>)));
  auto* partials = static_cast<float*>(ctx.workspace->Shared(2, n_tasks * partial_floats * sizeof(float)));
  int64_t at = 0;
  for (int64_t item = 0; item < n_items; ++item) {
    new (&counters[item]) std::atomic<int32_t>(0);
    const int64_t n_parts = parts_of(args.items[item]), first = at;
    for (int64_t part = 0; part < n_parts; ++part) tasks[at++] = {item, part, n_parts, first};
  }
  const ZoneJob job{&args, &shape, tasks, counters, partials, ctx.workspace};
  const auto run = HWY_DYNAMIC_DISPATCH(RunZoneTask);
  ctx.pool->ParallelFor(n_tasks, [&](int64_t i, int thread) { run(job, i, thread); });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
