// Window scores on the CPU, in three passes: the softmax's denominators, from maximum and sum of each stretch of the
// list; u of each query head, from the products a second time (kept, they would be W floats per query head and token);
// pooling. Stretches have a fixed length, so bits do not depend on the threads.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/window_scores_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/key_tiles_inl.h"

#ifndef ARKVALE_OPS_WINDOW_SCORES_CPU_ONCE_
#define ARKVALE_OPS_WINDOW_SCORES_CPU_ONCE_

#include <cmath>

#include "ops/cpu_kernels.h"
#include "ops/window_scores_cpu.h"

namespace arkvale {

constexpr int64_t kWindowTaskUnits = 16;
constexpr int64_t kPoolTokens = 4096;

// Row g * W + w of a kv head is its query head g, token w of the window.
struct WindowJob {
  const WindowScoresArgs* args;
  Workspace* workspace;
  int64_t rows;       // per kv head: W * q_heads_per_kv_head
  int64_t stretches;  // of kWindowTaskUnits units
  int64_t pad;        // zeros on each side of a u
  float* q;           // [n_kv_heads, rows, head_dim_k]
  float* partials;    // [n_kv_heads, stretches, 2, rows] largest score, sum of exp(score - largest)
  float* lse;         // [n_kv_heads, rows]
  float* u;           // [n_q_heads, pad + n_tokens - W + pad]

  int64_t window() const { return args->q.rows; }
  int64_t n_scores() const { return args->n_tokens - window(); }
  float* Partial(int64_t kv_head, int64_t stretch) const {
    return partials + (kv_head * stretches + stretch) * 2 * rows;
  }
  float* ShareOf(int64_t q_head) const { return u + q_head * (n_scores() + 2 * pad) + pad; }
};

// Packs the queries of a kv head and clears the edges of its u.
inline void PrepareHead(const WindowJob& job, int64_t kv_head) {
  const int64_t dim = job.args->kv.head_dim_k, n_heads = job.args->q_heads_per_kv_head, w = job.window();
  float* const q = job.q + kv_head * job.rows * dim;
  for (int64_t r = 0; r < job.rows; ++r) {
    std::copy_n(job.args->q.row(r % w) + (kv_head * n_heads + r / w) * dim, dim, q + r * dim);
  }
  for (int64_t h = kv_head * n_heads; h < (kv_head + 1) * n_heads; ++h) {
    std::fill_n(job.ShareOf(h) - job.pad, job.pad, 0.0f);
    std::fill_n(job.ShareOf(h) + job.n_scores(), job.pad, 0.0f);
  }
}

// Joins the stretches in order.
inline void JoinStretches(const WindowJob& job, int64_t kv_head) {
  for (int64_t r = 0; r < job.rows; ++r) {
    const float* const first = job.Partial(kv_head, 0) + r;
    float top = first[0], sum = 0;
    for (int64_t s = 1; s < job.stretches; ++s) top = std::max(top, first[s * 2 * job.rows]);
    for (int64_t s = 0; s < job.stretches; ++s) {
      sum += std::exp(first[s * 2 * job.rows] - top) * first[(s * 2 + 1) * job.rows];
    }
    job.lse[kv_head * job.rows + r] = top + std::log(sum);
  }
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_WINDOW_SCORES_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

struct WindowScratch {
  float *panels, *products, *sums, *lanes;  // [64, head_dim_k] transposed, [rows, 64], [64], [rows, kN]
  int32_t* visible;                         // [W]
};

inline WindowScratch MakeWindowScratch(const WindowJob& job, int thread) {
  const int64_t panels = kUnitKeys * job.args->kv.head_dim_k, products = job.rows * kUnitKeys;
  const int64_t floats = panels + products + kUnitKeys + job.rows * kN;
  auto* base = static_cast<float*>(
      job.workspace->PerThread(thread, floats * sizeof(float) + static_cast<size_t>(job.window()) * sizeof(int32_t)));
  return {base, base + panels, base + panels + products, base + panels + products + kUnitKeys,
          reinterpret_cast<int32_t*>(base + floats)};
}

// body(unit) for the units of a stretch, with the products of all rows in scratch.
template <typename T, typename Body>
void ForUnits(const WindowJob& job, int64_t kv_head, int64_t stretch, int64_t end_position, const WindowScratch& s,
              const Body& body) {
  const PagedKv& kv = job.args->kv;
  const auto row = static_cast<int32_t>(kv_head / kv.heads_per_row),
             head = static_cast<int32_t>(kv_head % kv.heads_per_row);
  const float* const q = job.q + kv_head * job.rows * kv.head_dim_k;
  const int64_t begin = stretch * kWindowTaskUnits;
  const int64_t end = std::min(begin + kWindowTaskUnits, (end_position + kUnitKeys - 1) / kUnitKeys);
  KeyUnit<T> units[2];
  if (begin < end) CollectKeys(kv, row, head, begin, units[0]);
  for (int64_t u = begin; u < end; ++u) {
    const KeyUnit<T>& unit = units[(u - begin) % 2];
    KeyUnit<T>* const next = u + 1 < end ? &units[(u + 1 - begin) % 2] : nullptr;
    if (next != nullptr) CollectKeys(kv, row, head, u + 1, *next);
    TransposeKeys(unit, kv.head_dim_k, s.panels, next);
    UnitProducts(job.rows, q, kv.head_dim_k, s.panels, s.products);
    for (int64_t w = 0; w < job.window(); ++w) s.visible[w] = KeysUpTo(unit, job.n_scores() + w);
    body(unit);
  }
}

template <typename T>
void SumStretch(const WindowJob& job, int64_t kv_head, int64_t stretch, const WindowScratch& s) {
  const WindowScoresArgs& args = *job.args;
  float* const top = job.Partial(kv_head, stretch);
  std::fill_n(top, job.rows, -1e30f);
  std::fill_n(s.lanes, job.rows * kN, 0.0f);
  ForUnits<T>(job, kv_head, stretch, args.n_tokens, s, [&](const KeyUnit<T>& unit) {
    for (int64_t r = 0; r < job.rows; ++r) {
      const int32_t n = s.visible[r % job.window()];
      const uint64_t visible = n == 0 ? 0 : unit.listed & (~uint64_t{0} >> (kUnitKeys - n));
      if (args.softcap > 0) {
        SoftmaxStep<true>(s.products + r * kUnitKeys, args.scale, args.softcap, visible, top + r, s.lanes + r * kN);
      } else {
        SoftmaxStep<false>(s.products + r * kUnitKeys, args.scale, 0.0f, visible, top + r, s.lanes + r * kN);
      }
    }
  });
  for (int64_t r = 0; r < job.rows; ++r) {
    top[job.rows + r] = hn::GetLane(hn::SumOfLanes(DF(), hn::LoadU(DF(), s.lanes + r * kN)));
  }
}

template <typename T>
void ShareStretch(const WindowJob& job, int64_t kv_head, int64_t stretch, const WindowScratch& s) {
  const WindowScoresArgs& args = *job.args;
  const ShareRule rule{args.scale, args.softcap, 1.0f};
  ForUnits<T>(job, kv_head, stretch, job.n_scores(), s, [&](const KeyUnit<T>& unit) {
    for (int64_t g = 0; g < args.q_heads_per_kv_head; ++g) {
      std::fill_n(s.sums, kUnitKeys, 0.0f);
      AddShares(rule, s.products + g * job.window() * kUnitKeys, job.lse + kv_head * job.rows + g * job.window(),
                s.visible, job.window(), 1, s.sums);
      std::copy_n(s.sums, std::min(kUnitKeys, job.n_scores() - unit.position[0]),
                  job.ShareOf(kv_head * args.q_heads_per_kv_head + g) + unit.position[0]);
    }
  });
}

template <typename T>
void RunWindowPass(const WindowJob& job, bool sums, int64_t kv_head, int64_t stretch, const WindowScratch& s) {
  if (sums) {
    SumStretch<T>(job, kv_head, stretch, s);
  } else {
    ShareStretch<T>(job, kv_head, stretch, s);
  }
}

void RunWindowTask(const WindowJob& job, bool sums, int64_t kv_head, int64_t stretch, int thread) {
  const WindowScratch scratch = MakeWindowScratch(job, thread);
  ForRowType(job.args->kv.dtype, [&](auto t) { RunWindowPass<decltype(t)>(job, sums, kv_head, stretch, scratch); });
}

template <class D>
HWY_INLINE void AddPooledAt(D d, const float* u, int32_t kernel, Pooling pooling, float* pooled) {
  const float* const first = u - kernel / 2;
  auto x = hn::LoadU(d, first);
  if (pooling == Pooling::kMax) {
    for (int32_t i = 1; i < kernel; ++i) x = hn::Max(x, hn::LoadU(d, first + i));
  } else {
    for (int32_t i = 1; i < kernel; ++i) x = hn::Add(x, hn::LoadU(d, first + i));
    x = hn::Div(x, hn::Set(d, static_cast<float>(kernel)));
  }
  hn::StoreU(hn::Add(hn::LoadU(d, pooled), x), d, pooled);
}

void PoolHead(const float* u, int64_t n, int32_t kernel, Pooling pooling, float* pooled) {
  int64_t j = 0;
  for (; j + kN <= n; j += kN) AddPooledAt(DF(), u + j, kernel, pooling, pooled + j);
  for (; j < n; ++j) AddPooledAt(hn::CappedTag<float, 1>(), u + j, kernel, pooling, pooled + j);
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunWindowTask);
HWY_EXPORT(PoolHead);

namespace {

WindowJob MakeWindowJob(const OpContext& ctx, const WindowScoresArgs& args) {
  const int64_t kv_heads = int64_t{args.kv.n_rows} * args.kv.heads_per_row;
  WindowJob job{};
  job.args = &args;
  job.workspace = ctx.workspace;
  job.rows = args.q.rows * args.q_heads_per_kv_head;
  job.stretches = (args.n_tokens + kUnitKeys * kWindowTaskUnits - 1) / (kUnitKeys * kWindowTaskUnits);
  job.pad = args.kernel / 2;
  const auto take = [&](int slot, int64_t floats) {
    return static_cast<float*>(ctx.workspace->Shared(slot, floats * sizeof(float)));
  };
  job.q = take(0, kv_heads * job.rows * args.kv.head_dim_k);
  job.partials = take(1, kv_heads * job.stretches * 2 * job.rows);
  job.lse = take(2, kv_heads * job.rows);
  job.u = take(3, kv_heads * args.q_heads_per_kv_head * (job.n_scores() + 2 * job.pad));
  return job;
}

}  // namespace

namespace cpu {

void AddPooled(const float* u, int64_t n, int32_t kernel, Pooling pooling, float* pooled) {
  HWY_DYNAMIC_DISPATCH(PoolHead)(u, n, kernel, pooling, pooled);
}

Status WindowScores(const OpContext& ctx, const WindowScoresArgs& args) {
  const WindowJob job = MakeWindowJob(ctx, args);
  const int64_t kv_heads = int64_t{args.kv.n_rows} * args.kv.heads_per_row, n = job.n_scores();
  const auto run = HWY_DYNAMIC_DISPATCH(RunWindowTask);
  for (int64_t e = 0; e < kv_heads; ++e) PrepareHead(job, e);
  for (const bool sums : {true, false}) {
    ctx.pool->ParallelFor(kv_heads * job.stretches,
                          [&](int64_t i, int thread) { run(job, sums, i / job.stretches, i % job.stretches, thread); });
    if (sums) ctx.pool->ParallelFor(kv_heads, [&](int64_t e, int) { JoinStretches(job, e); });
  }
  const int64_t parts = (n + kPoolTokens - 1) / kPoolTokens;
  ctx.pool->ParallelFor(kv_heads * parts, [&](int64_t i, int) {
    const int64_t e = i / parts, begin = i % parts * kPoolTokens, tokens = std::min(kPoolTokens, n - begin);
    float* const scores = args.scores + e * n + begin;
    std::fill_n(scores, tokens, 0.0f);
    for (int64_t h = e * args.q_heads_per_kv_head; h < (e + 1) * args.q_heads_per_kv_head; ++h) {
      AddPooled(job.ShareOf(h) + begin, tokens, args.kernel, args.pooling, scores);
    }
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
