// Paged decode attention. Tasks are (row, kv head, partition of a fixed number of pages); each leaves (out, max, sum)
// of its tokens for all query heads of the kv head, and whoever finishes a kv head's last partition joins them in
// order.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/paged_attention_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/attention_partials_inl.h"
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_PAGED_ATTENTION_CPU_ONCE_
#define ARKVALE_OPS_PAGED_ATTENTION_CPU_ONCE_

#include <atomic>
#include <cmath>
#include <limits>

#include "ops/cpu_kernels.h"

namespace arkvale {

constexpr int64_t kPartitionTokens = 256;
constexpr int64_t kMaxRunBytes = 16 << 10;  // of K or V that is walked more than once and so must stay in L1

struct PagedTask {
  int32_t row, head;  // head: inside the row
  int64_t part, n_parts;
  int64_t counter;        // of (row, head)
  int64_t first_partial;  // of (row, head), counted in partials
};

// One task's state. Partials as in attention_partials_inl.h.
struct PagedJob {
  const PagedAttentionArgs* args;
  const PagedTask* tasks;
  std::atomic<int32_t>* counters;
  float* partials;
  Workspace* workspace;
};

// A stretch of consecutive tokens in memory.
struct KvRun {
  const std::byte *k, *v;
  int64_t n;
};

inline int64_t PagesPerPartition(const PagedKv& kv) { return std::max<int64_t>(1, kPartitionTokens / kv.page_tokens); }

// Writes the runs of pages [from, to) of a row's list and returns their number. A run never crosses a page.
inline int64_t CollectRuns(const PagedKv& kv, int32_t row, int32_t head, int64_t from, int64_t to, int64_t run_tokens,
                           KvRun* runs) {
  const int64_t k_row = KeyRowBytes(kv), v_row = ValueRowBytes(kv);
  int64_t n_runs = 0;
  for (int64_t i = from; i < to; ++i) {
    const bool first = i == kv.page_begin[row], last = i + 1 == kv.page_begin[row + 1];
    const int64_t begin = first && kv.first_page_skip != nullptr ? kv.first_page_skip[row] : 0;
    const int64_t end = last ? kv.last_page_tokens[row] : kv.page_tokens;
    const std::byte* k = KeyPage(kv, kv.page_ids[i], kv.head0[row] + head);
    const std::byte* v = ValuePage(kv, kv.page_ids[i], kv.head0[row] + head);
    for (int64_t t = begin; t < end; t += run_tokens) {
      runs[n_runs++] = {k + t * k_row, v + t * v_row, std::min(run_tokens, end - t)};
    }
  }
  return n_runs;
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_PAGED_ATTENTION_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

struct PagedScratch {
  float* q;       // [q_heads, padded dk], scaled
  float* scores;  // [q_heads, stride]
  float* sums;    // [q_heads, padded dv]
  KvRun* runs;
  int64_t stride;
};

inline int64_t RunTokens(const PagedKv& kv) {
  const int64_t row_bytes = std::max(KeyRowBytes(kv), ValueRowBytes(kv));
  return std::max<int64_t>(4, kMaxRunBytes / row_bytes / 4 * 4);
}

inline PagedScratch MakePagedScratch(const PagedAttentionArgs& args, Workspace& workspace, int thread) {
  const PagedKv& kv = args.kv;
  const int64_t heads = args.q_heads_per_kv_head;
  const int64_t tokens = PagesPerPartition(kv) * kv.page_tokens;
  const int64_t runs = PagesPerPartition(kv) * ((kv.page_tokens + RunTokens(kv) - 1) / RunTokens(kv));
  const int64_t stride = (tokens + kN - 1) / kN * kN;
  const int64_t q = heads * RowCut(kv.head_dim_k).padded(), scores = heads * stride;
  const int64_t sums = heads * RowCut(kv.head_dim_v).padded();
  const int64_t runs_bytes = (runs * static_cast<int64_t>(sizeof(KvRun)) + 63) / 64 * 64;
  auto* memory = static_cast<std::byte*>(
      workspace.PerThread(thread, runs_bytes + (q + scores + sums) * static_cast<int64_t>(sizeof(float))));
  auto* base = reinterpret_cast<float*>(memory + runs_bytes);
  return {base, base + q, base + q + scores, reinterpret_cast<KvRun*>(memory), stride};
}

template <typename T>
void AttendPartition(const PagedAttentionArgs& args, const PagedTask& task, const PagedScratch& s, float* partial) {
  const PagedKv& kv = args.kv;
  const int heads = args.q_heads_per_kv_head;
  const RowCut k_cut(kv.head_dim_k, RowStride<T>(kv.head_dim_k)), v_cut(kv.head_dim_v, RowStride<T>(kv.head_dim_v));
  const int64_t begin = kv.page_begin[task.row] + task.part * PagesPerPartition(kv);
  const int64_t end = std::min(kv.page_begin[task.row + 1], begin + PagesPerPartition(kv));
  const int64_t n_runs = CollectRuns(kv, task.row, task.head, begin, end, RunTokens(kv), s.runs);
  for (int h = 0; h < heads; ++h) {
    PackRow(k_cut, args.q[task.row] + (task.head * heads + h) * kv.head_dim_k, args.scale, s.q + h * k_cut.padded());
  }
  // What is read after a run is asked for while the run is worked on; a longer run would ask past its end.
  const bool same_rows = k_cut.length == v_cut.length;
  int64_t n = 0;
  for (int64_t i = 0; i < n_runs; ++i) {
    const KvRun& run = s.runs[i];
    const std::byte* next = nullptr;
    if (i + 1 < n_runs && s.runs[i + 1].n >= run.n) next = s.runs[i + 1].k;
    if (i + 1 == n_runs && same_rows && s.runs[0].n >= run.n) next = s.runs[0].v;
    DotRows(k_cut, reinterpret_cast<const T*>(run.k), run.n, s.q, heads, s.scores + n, s.stride, next);
    n += run.n;
  }
  const int64_t partial_stride = 2 + v_cut.padded();
  float* sums = s.sums;
  std::fill(sums, sums + heads * v_cut.padded(), 0.0f);
  for (int h = 0; h < heads; ++h) {
    float* head = partial + h * partial_stride;
    head[0] = -std::numeric_limits<float>::infinity();
    head[1] = 0;
    if (args.softcap > 0) CapScores(s.scores + h * s.stride, n, args.softcap);
    if (n > 0) SoftmaxRow(s.scores + h * s.stride, n, &head[0], &head[1]);
  }
  int64_t at = 0;
  for (int64_t i = 0; i < n_runs; ++i) {
    const KvRun& run = s.runs[i];
    const std::byte* next = i + 1 < n_runs && s.runs[i + 1].n >= run.n ? s.runs[i + 1].v : nullptr;
    SumRows(v_cut, reinterpret_cast<const T*>(run.v), run.n, s.scores + at, s.stride, heads, sums, next);
    at += run.n;
  }
  for (int h = 0; h < heads; ++h) {
    std::copy(sums + h * v_cut.padded(), sums + (h + 1) * v_cut.padded(), partial + h * partial_stride + 2);
  }
}

// Joins the partials of one (row, kv head) into the row's out and lse.
inline void JoinPartitions(const PagedAttentionArgs& args, const PagedTask& task, float* partials) {
  const RowCut cut(args.kv.head_dim_v);
  const int64_t first_head = int64_t{task.head} * args.q_heads_per_kv_head;
  float* const lse = args.lse == nullptr ? nullptr : args.lse[task.row];
  JoinPartials(cut, task.n_parts, args.q_heads_per_kv_head, partials, args.out[task.row] + first_head * cut.length,
               lse == nullptr ? nullptr : lse + first_head);
}

void RunPagedTask(const PagedJob& job, int64_t index, int thread) {
  const PagedAttentionArgs& args = *job.args;
  const PagedTask& task = job.tasks[index];
  const int64_t partial_floats = args.q_heads_per_kv_head * (2 + RowCut(args.kv.head_dim_v).padded());
  float* first = job.partials + task.first_partial * partial_floats;
  float* partial = first + task.part * partial_floats;
  const PagedScratch scratch = MakePagedScratch(args, *job.workspace, thread);
  ForRowType(args.kv.dtype, [&](auto t) { AttendPartition<decltype(t)>(args, task, scratch, partial); });
  if (task.n_parts == 1 || job.counters[task.counter].fetch_add(1, std::memory_order_acq_rel) + 1 == task.n_parts) {
    JoinPartitions(args, task, first);
  }
}

int64_t PaddedValueDim(int64_t head_dim_v) { return RowCut(head_dim_v).padded(); }

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunPagedTask);
HWY_EXPORT(PaddedValueDim);

namespace cpu {

Status PagedAttention(const OpContext& ctx, const PagedAttentionArgs& args) {
  const PagedKv& kv = args.kv;
  const auto parts_of = [&](int32_t row) {  // a row without pages is one empty partition
    const int64_t pages = kv.page_begin[row + 1] - kv.page_begin[row];
    return std::max<int64_t>(1, (pages + PagesPerPartition(kv) - 1) / PagesPerPartition(kv));
  };
  int64_t n_tasks = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) n_tasks += parts_of(row) * kv.heads_per_row;
  const int64_t n_counters = int64_t{kv.n_rows} * kv.heads_per_row;
  const int64_t partial_floats = args.q_heads_per_kv_head * (2 + HWY_DYNAMIC_DISPATCH(PaddedValueDim)(kv.head_dim_v));

  auto* tasks = static_cast<PagedTask*>(ctx.workspace->Shared(0, n_tasks * sizeof(PagedTask)));
  auto* counters =
      static_cast<std::atomic<int32_t>*>(ctx.workspace->Shared(1, n_counters * sizeof(std::atomic<int32_t>)));
  auto* partials = static_cast<float*>(ctx.workspace->Shared(2, n_tasks * partial_floats * sizeof(float)));
  int64_t at = 0, counter = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    const int64_t n_parts = parts_of(row);
    for (int32_t head = 0; head < kv.heads_per_row; ++head, ++counter) {
      new (&counters[counter]) std::atomic<int32_t>(0);
      const int64_t first = at;
      for (int64_t part = 0; part < n_parts; ++part) tasks[at++] = {row, head, part, n_parts, counter, first};
    }
  }
  const PagedJob job{&args, tasks, counters, partials, ctx.workspace};
  const auto run = HWY_DYNAMIC_DISPATCH(RunPagedTask);
  ctx.pool->ParallelFor(n_tasks, [&](int64_t i, int thread) { run(job, i, thread); });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
