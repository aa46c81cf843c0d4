// Scores of digests on the CPU. Every one starts as a plain dot product of the vectors with a split query:
//   cuboid [b+ | b-] . [relu(q) | -relu(-q)]     in q8 [c | rho] . [q | |q|]
//   sphere [c | r] . [q | |q|]     centroid a . q
//   code1 [c | rho] . [q | -q]     code2 [m | w] . [q | q / 2]
// and the split queries of several heads may be added first (algorithms 2, identities). The codes then add the largest
// sum of their keys (code_query_inl.h).

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/digest_score_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/code_query_inl.h"
#include "ops/q8_kernels_inl.h"
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_DIGEST_SCORE_CPU_ONCE_
#define ARKVALE_OPS_DIGEST_SCORE_CPU_ONCE_

#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>

#include "ops/cpu_kernels.h"
#include "ops/digest_layout.h"

namespace arkvale {

// Most pages of one item that a task scores.
inline int64_t MaxPagesPerTask(DigestKind kind) { return IsCode(kind) ? 64 : 512; }

// How far ahead of the rows they read the kernels ask for memory: rows are short and the arithmetic on them is shorter,
// so that the processor's own prefetching comes late. Beyond the last row it asks in vain.
inline constexpr int64_t kPrefetchBytes = 8192;

// [d] -> [DigestLength], added to `split`.
inline void AddSplitQuery(const DigestScoreArgs& args, const float* q, float* split) {
  const int64_t d = args.head_dim;
  if (IsCuboid(args.kind) && FormOf(args.kind, args.type) == BoxForm::kBounds) {
    for (int64_t t = 0; t < d; ++t) split[t] += std::max(q[t], 0.0f);
    for (int64_t t = 0; t < d; ++t) split[d + t] -= std::max(-q[t], 0.0f);
    return;
  }
  for (int64_t t = 0; t < d; ++t) split[t] += q[t];
  if (IsCuboid(args.kind)) {
    for (int64_t t = 0; t < d; ++t) split[d + t] += std::abs(q[t]);
  } else if (IsCode(args.kind)) {
    const float factor = args.kind == DigestKind::kCode1 ? -1.0f : 0.5f;
    for (int64_t t = 0; t < d; ++t) split[d + t] += factor * q[t];
  } else if (IsSphere(args.kind)) {
    double squares = 0;
    for (int64_t t = 0; t < d; ++t) squares += double{q[t]} * q[t];
    split[d] += static_cast<float>(std::sqrt(squares));
  }
}

// Listed pages are copied side by side, so many at a time: a kernel that starts anew at each of them costs more.
inline constexpr int64_t kGatheredPages = 32;

// Copies of digests, for kernels that read consecutive pages.
class GatheredPages {
 public:
  GatheredPages(const DigestScoreArgs& args, std::byte* memory)
      : layout_(LayoutOf(args)), page_tokens_(args.page_tokens) {
    to_[0] = memory;
    for (int i = 0; i < layout_.n_planes; ++i)
      to_[i + 1] = to_[i] + PartBytes(i == 0 ? layout_.vector_bytes : layout_.plane_bytes);
  }
  static int64_t Bytes(const DigestScoreArgs& args) {
    const DigestLayout layout = LayoutOf(args);
    return PartBytes(layout.vector_bytes) + layout.n_planes * PartBytes(layout.plane_bytes);
  }

  // `copy` becomes an item of n pages: the listed ones from `first` on.
  void Gather(const DigestScoreItem& item, int64_t first, int64_t n, DigestScoreItem& copy) const {
    copy.vectors = GatherPart(item.vectors, layout_.vector_bytes, item.pages.subspan(first, n), to_[0]);
    for (int i = 0; i < layout_.n_planes; ++i) {
      copy.planes[i] = GatherPart(item.planes[i], layout_.plane_bytes, item.pages.subspan(first, n), to_[i + 1]);
    }
    copy.scores = item.scores + first;
    if (item.key_scores != nullptr) copy.key_scores = item.key_scores + first * page_tokens_;
  }

 private:
  static constexpr int64_t kLine = 64;

  static DigestLayout LayoutOf(const DigestScoreArgs& args) {
    return *MakeDigestLayout(args.kind, args.type, args.page_tokens, args.head_dim);
  }
  static int64_t PartBytes(int64_t page_bytes) { return (kGatheredPages * page_bytes + kLine - 1) / kLine * kLine; }

  static const void* GatherPart(const void* from, int64_t bytes, std::span<const int32_t> pages, std::byte* to) {
    const auto* const base = static_cast<const std::byte*>(from);
    for (const int32_t page : pages) {
      for (int64_t at = 0; at < bytes; at += kLine) __builtin_prefetch(base + page * bytes + at);
    }
    for (size_t i = 0; i < pages.size(); ++i) std::memcpy(to + i * bytes, base + pages[i] * bytes, bytes);
    return to;
  }

  const DigestLayout layout_;
  const int64_t page_tokens_;
  std::byte* to_[3] = {};
};

}  // namespace arkvale

#endif  // ARKVALE_OPS_DIGEST_SCORE_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// Pages [first, end) of an item. packed [n_queries, padded length]: split queries.
template <typename T>
void ScoreRun(const DigestScoreArgs& args, const DigestScoreItem& item, int64_t first, int64_t end, const float* packed,
              int n_queries) {
  const RowCut cut(DigestLength(args.kind, args.head_dim));
  const T* const rows = static_cast<const T*>(item.vectors) + first * cut.length;
  DotRows(cut, rows, end - first, packed, n_queries, item.scores + first, item.n_pages,
          reinterpret_cast<const std::byte*>(rows) + kPrefetchBytes);
}

// What a task holds per thread: the split queries, rounded for q8, packed [n_queries, padded length] for other types.
struct ScoreScratch {
  ScoreScratch(const DigestScoreArgs& args, bool gathers, Workspace& workspace, int thread)
      : n_queries(args.sum_heads ? 1 : args.n_q_heads), cut(DigestLength(args.kind, args.head_dim)) {
    const bool is_q8 = args.type == DigestType::kQ8;
    const int64_t packed_floats = is_q8 ? 0 : n_queries * cut.padded();
    const int64_t floats = (packed_floats + cut.length + kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine;
    const int64_t q8_bytes = is_q8 ? Q8Queries::ScratchBytes(args.head_dim, n_queries) : 0;
    const int64_t code_bytes = IsCode(args.kind) ? CodeQuery::ScratchBytes(args.head_dim, n_queries) : 0;
    const int64_t gathered_bytes = gathers ? GatheredPages::Bytes(args) : 0;
    gathered = static_cast<std::byte*>(
        workspace.PerThread(thread, gathered_bytes + floats * sizeof(float) + q8_bytes + code_bytes));
    packed = reinterpret_cast<float*>(gathered + gathered_bytes);
    split = packed + packed_floats;
    q8 = reinterpret_cast<std::byte*>(packed + floats);
    codes = q8 + q8_bytes;
  }

  static constexpr int64_t kFloatsPerLine = 16;

  const int n_queries;
  const RowCut cut;
  float *packed, *split;
  std::byte *gathered, *q8, *codes;
};

// Calls put(i, split query i) for every query.
template <typename Put>
void ForEachQuery(const DigestScoreArgs& args, const DigestScoreItem& item, const ScoreScratch& s, const Put& put) {
  for (int query = 0; query < s.n_queries; ++query) {
    std::fill(s.split, s.split + s.cut.length, 0.0f);
    const int end = args.sum_heads ? args.n_q_heads : query + 1;
    for (int h = query; h < end; ++h) AddSplitQuery(args, item.q + h * args.head_dim, s.split);
    put(query, s.split);
  }
}

// Scores entries [first, first + n) of the pages that an item wants, n <= MaxPagesPerTask.
void RunDigestScore(const DigestScoreArgs& args, const DigestScoreItem& item, int64_t first, int64_t n,
                    Workspace& workspace, int thread) {
  const ScoreScratch s(args, /*gathers=*/!item.pages.empty(), workspace, thread);
  Q8Queries q8(args.kind, args.head_dim, s.n_queries, s.q8);
  ForEachQuery(args, item, s, [&](int query, const float* split) {
    if (args.type == DigestType::kQ8) {
      q8.Set(query, split);
    } else {
      PackRow(s.cut, split, 1.0f, s.packed + query * s.cut.padded());
    }
  });
  DigestScoreItem part = item;  // consecutive pages; scores [n_queries, part.n_pages]
  part.n_pages = WantedPages(item);
  const auto score_vectors = [&](int64_t begin, int64_t end) {
    switch (args.type) {
      case DigestType::kF16: return ScoreRun<f16_t>(args, part, begin, end, s.packed, s.n_queries);
      case DigestType::kF32: return ScoreRun<float>(args, part, begin, end, s.packed, s.n_queries);
      case DigestType::kQ8:
        return q8.Score(static_cast<const std::byte*>(part.vectors), begin, end, part.scores, part.n_pages);
    }
  };
  std::optional<CodeQuery> codes;
  if (IsCode(args.kind)) codes.emplace(args, part, s.codes);
  const auto score = [&](int64_t begin, int64_t end) {
    score_vectors(begin, end);
    if (codes) codes->AddBestKeys(begin, end);
  };
  const int64_t end = std::min(first + n, part.n_pages);
  if (item.pages.empty()) return score(first, end);
  const GatheredPages gathered(args, s.gathered);
  for (; first < end; first += kGatheredPages) {
    const int64_t some = std::min(kGatheredPages, end - first);
    gathered.Gather(item, first, some, part);
    score(0, some);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunDigestScore);

namespace {

// Enough tasks that the last ones do not leave threads idle, none so small that its setup shows.
int64_t PagesPerTask(const DigestScoreArgs& args, int64_t most_pages, int n_threads) {
  constexpr int64_t kTasksPerThread = 4, kLeast = 32;
  const int64_t tasks_per_item = kTasksPerThread * n_threads / static_cast<int64_t>(args.items.size()) + 1;
  const int64_t even = (most_pages / tasks_per_item + kLeast) / kLeast * kLeast;
  return std::min(even, MaxPagesPerTask(args.kind));
}

}  // namespace

namespace cpu {

Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args) {
  const auto n_items = static_cast<int64_t>(args.items.size());
  if (n_items == 0) return OkStatus();
  int64_t most = 0;
  for (const DigestScoreItem& item : args.items) most = std::max(most, WantedPages(item));
  const int64_t per_task = PagesPerTask(args, most, ctx.pool->n_threads());
  const int64_t tasks_per_item = std::max<int64_t>(1, (most + per_task - 1) / per_task);
  // Tasks under way or to come, per item.
  auto* const left =
      static_cast<std::atomic<int64_t>*>(ctx.workspace->Shared(0, n_items * sizeof(std::atomic<int64_t>)));
  for (int64_t i = 0; i < n_items; ++i) new (left + i) std::atomic<int64_t>(tasks_per_item);
  const auto run = HWY_DYNAMIC_DISPATCH(RunDigestScore);
  // Item after item, so that what follows on the first ones runs beside the last ones' tasks.
  ctx.pool->ParallelFor(tasks_per_item * n_items, [&](int64_t i, int thread) {
    const int64_t index = i / tasks_per_item, first = i % tasks_per_item * per_task;
    const DigestScoreItem& item = args.items[index];
    if (first < WantedPages(item)) run(args, item, first, per_task, *ctx.workspace, thread);
    if (args.item_done == nullptr) return;
    if (left[index].fetch_sub(1, std::memory_order_acq_rel) == 1) (*args.item_done)(index, thread);
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
