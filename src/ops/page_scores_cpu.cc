// True page scores on the CPU. A task is a few pages of one (row, kv head) for all its query heads.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/page_scores_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "hwy/contrib/math/math-inl.h"
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_PAGE_SCORES_CPU_ONCE_
#define ARKVALE_OPS_PAGE_SCORES_CPU_ONCE_

#include <cmath>
#include <limits>

#include "ops/cpu_kernels.h"

namespace arkvale {

constexpr int64_t kTaskPages = 8;

struct PageScoresTask {
  int32_t row, head;   // head: inside the row
  int64_t begin, end;  // pages of the row's list
};

}  // namespace arkvale

#endif  // ARKVALE_OPS_PAGE_SCORES_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// Of a row of whole vectors.
inline float MaxOf(const float* scores, int64_t padded) {
  const DF d;
  VF top = hn::LoadU(d, scores);
  for (int64_t i = kN; i < padded; i += kN) top = hn::Max(top, hn::LoadU(d, scores + i));
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

// Natural logsumexp of the scaled and capped scores [n], n > 0, with room for whole vectors; overwrites them.
inline float LogSumExp(const PageScoresArgs& args, float* scores, int64_t n, int64_t padded) {
  const DF d;
  for (int64_t i = 0; i < padded; i += kN) {
    VF x = hn::Mul(hn::Set(d, args.scale), hn::LoadU(d, scores + i));
    if (args.softcap > 0) {
      x = hn::Mul(hn::Set(d, args.softcap), hn::Tanh(d, hn::Mul(hn::Set(d, 1 / args.softcap), x)));
    }
    hn::StoreU(x, d, scores + i);
  }
  std::fill(scores + n, scores + padded, -std::numeric_limits<float>::infinity());
  const float top = MaxOf(scores, padded);
  VF sum = hn::Zero(d);
  for (int64_t i = 0; i < padded; i += kN) {
    sum = hn::Add(sum, hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), hn::Set(d, top))));
  }
  return top + std::log(hn::GetLane(hn::SumOfLanes(d, sum)));
}

template <typename T>
void ScorePages(const PageScoresArgs& args, const PageScoresTask& task, float* packed, float* scores) {
  const PagedKv& kv = args.kv;
  const int heads = args.q_heads_per_kv_head;
  const int64_t dim = kv.head_dim_k, stride = (kv.page_tokens + kN - 1) / kN * kN;
  const int64_t row_begin = kv.page_begin[task.row], n_pages = kv.page_begin[task.row + 1] - row_begin;
  const RowCut cut(dim, RowStride<T>(dim));
  float* const max_qk = args.max_qk == nullptr ? nullptr : args.max_qk[task.row];
  float* const lse = args.lse == nullptr ? nullptr : args.lse[task.row];
  for (int h = 0; h < heads; ++h) {
    PackRow(cut, args.q[task.row] + (task.head * heads + h) * dim, 1.0f, packed + h * cut.padded());
  }
  for (int64_t page = task.begin; page < task.end; ++page) {
    const int64_t skip = page == 0 && kv.first_page_skip != nullptr ? kv.first_page_skip[task.row] : 0;
    const int64_t n = (page + 1 == n_pages ? kv.last_page_tokens[task.row] : kv.page_tokens) - skip;
    const auto* keys =
        reinterpret_cast<const T*>(KeyPage(kv, kv.page_ids[row_begin + page], kv.head0[task.row] + task.head));
    DotRows(cut, keys + skip * cut.stride, n, packed, heads, scores, stride, nullptr);
    const int64_t padded = std::max<int64_t>(kN, (n + kN - 1) / kN * kN);
    for (int h = 0; h < heads; ++h) {
      float* const of_head = scores + h * stride;
      const int64_t out = (int64_t{task.head} * heads + h) * n_pages + page;
      std::fill(of_head + n, of_head + padded, -std::numeric_limits<float>::infinity());
      if (max_qk != nullptr) max_qk[out] = MaxOf(of_head, padded);
      if (lse != nullptr) lse[out] = n == 0 ? of_head[0] : LogSumExp(args, of_head, n, padded);
    }
  }
}

void RunPageScores(const PageScoresArgs& args, const PageScoresTask& task, Workspace& workspace, int thread) {
  const int64_t heads = args.q_heads_per_kv_head, q = heads * RowCut(args.kv.head_dim_k).padded();
  const int64_t scores = heads * ((args.kv.page_tokens + kN - 1) / kN * kN);
  auto* packed = static_cast<float*>(workspace.PerThread(thread, (q + scores) * sizeof(float)));
  ForRowType(args.kv.dtype, [&](auto t) { ScorePages<decltype(t)>(args, task, packed, packed + q); });
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunPageScores);

namespace cpu {

Status PageScores(const OpContext& ctx, const PageScoresArgs& args) {
  const PagedKv& kv = args.kv;
  const auto pages_of = [&](int32_t row) { return kv.page_begin[row + 1] - kv.page_begin[row]; };
  int64_t n_tasks = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    n_tasks += (pages_of(row) + kTaskPages - 1) / kTaskPages * kv.heads_per_row;
  }
  auto* tasks = static_cast<PageScoresTask*>(ctx.workspace->Shared(0, n_tasks * sizeof(PageScoresTask)));
  int64_t at = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    for (int32_t head = 0; head < kv.heads_per_row; ++head) {
      for (int64_t page = 0; page < pages_of(row); page += kTaskPages) {
        tasks[at++] = {row, head, page, std::min(page + kTaskPages, pages_of(row))};
      }
    }
  }
  const auto run = HWY_DYNAMIC_DISPATCH(RunPageScores);
  ctx.pool->ParallelFor(n_tasks, [&](int64_t i, int thread) { run(args, tasks[i], *ctx.workspace, thread); });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
