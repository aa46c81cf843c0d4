// Scores of digests on the CPU. Every one starts as a plain dot product of the vectors with a split query:
//   cuboid [b+ | b-] . [relu(q) | -relu(-q)]     in q8 [c | rho] . [q | |q|]
//   sphere [c | r] . [q | |q|]     centroid a . q
//   code1 [c | rho] . [q | -q]     code2 [m | w] . [q | q / 2]     its high bit alone [m | w] . [q | q]
// and the split queries of several heads may be added first (algorithms 2, identities). The codes then add the largest
// sum of their keys (code_kernels_inl.h).

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/digest_score_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/code_kernels_inl.h"
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_DIGEST_SCORE_CPU_ONCE_
#define ARKVALE_OPS_DIGEST_SCORE_CPU_ONCE_

#include <cmath>
#include <cstring>

#include "base/f16.h"
#include "ops/cpu_kernels.h"
#include "ops/digest_layout.h"

namespace arkvale {

// Pages of one item that a task scores.
inline int64_t PagesPerTask(DigestKind kind) { return IsCode(kind) ? 64 : 512; }

inline bool ReadsBothPlanes(const DigestScoreArgs& args) {
  return args.kind == DigestKind::kCode2 && args.n_planes >= 2;
}

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
    const float factor = args.kind == DigestKind::kCode1 ? -1.0f : ReadsBothPlanes(args) ? 0.5f : 1.0f;
    for (int64_t t = 0; t < d; ++t) split[d + t] += factor * q[t];
  } else if (IsSphere(args.kind)) {
    double squares = 0;
    for (int64_t t = 0; t < d; ++t) squares += double{q[t]} * q[t];
    split[d] += static_cast<float>(std::sqrt(squares));
  }
}

// Calls body(begin, end) for the runs of consecutive pages among the item's wanted ones [first, first + n).
template <typename Body>
void ForEachRun(const DigestScoreItem& item, int64_t first, int64_t n, const Body& body) {
  const int64_t end = std::min(first + n, WantedPages(item));
  if (item.pages.empty()) return body(first, end);
  for (int64_t i = first; i < end;) {
    int64_t j = i + 1;
    while (j < end && item.pages[j] == item.pages[j - 1] + 1) ++j;
    body(int64_t{item.pages[i]}, int64_t{item.pages[j - 1]} + 1);
    i = j;
  }
}

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
  DotRows(cut, static_cast<const T*>(item.vectors) + first * cut.length, end - first, packed, n_queries,
          item.scores + first, item.n_pages, nullptr);
}

// The same in q8. packed [2, n_queries, padded head_dim]: the split queries' parts for the two vectors; for a sphere
// the second part starts with the |q| of all queries. dots [2, n_queries, end - first]: scratch.
void ScoreRunQ8(const DigestScoreArgs& args, const DigestScoreItem& item, int64_t first, int64_t end,
                const float* packed, int n_queries, float* dots) {
  const int64_t d = args.head_dim, header = Q8HeaderBytes(args.kind), n = end - first;
  const bool two = IsCuboid(args.kind) || IsCode(args.kind), sphere = IsSphere(args.kind);
  const int64_t bytes = header + (two ? 2 * d : d);
  const RowCut cut(d, bytes);
  const int8_t* const pages = static_cast<const int8_t*>(item.vectors) + first * bytes;
  const float* const packed2 = packed + n_queries * cut.padded();
  float* const dots2 = dots + n_queries * n;
  DotRows(cut, pages + header, n, packed, n_queries, dots, n, nullptr);
  if (two) DotRows(cut, pages + header + d, n, packed2, n_queries, dots2, n, nullptr);
  for (int64_t i = 0; i < n; ++i) {
    f16_t scales[2] = {0, 0};
    std::memcpy(scales, pages + i * bytes, header);
    const float scale = F16ToF32(scales[0]), scale2 = F16ToF32(scales[1]);
    for (int h = 0; h < n_queries; ++h) {
      float score = scale * dots[h * n + i];
      if (two) score += scale2 * dots2[h * n + i];
      if (sphere) score += scale2 * packed2[h];
      item.scores[h * item.n_pages + first + i] = score;
    }
  }
}

// What a task holds per thread; see the functions above for the shapes.
struct ScoreScratch {
  ScoreScratch(const DigestScoreArgs& args, Workspace& workspace, int thread)
      : n_queries(args.sum_heads ? 1 : args.n_q_heads),
        length(DigestLength(args.kind, args.head_dim)),
        cut(args.type == DigestType::kQ8 ? args.head_dim : length) {
    const bool q8 = args.type == DigestType::kQ8;
    const int64_t packed_floats = n_queries * cut.padded() * (q8 ? 2 : 1);
    const int64_t dots_floats = q8 ? 2 * n_queries * PagesPerTask(args.kind) : 0;
    const int64_t floats = (packed_floats + dots_floats + length + kN - 1) / kN * kN;
    const int64_t code_bytes = IsCode(args.kind) ? CodeQuery::ScratchBytes(args.head_dim, n_queries) : 0;
    packed = static_cast<float*>(workspace.PerThread(thread, floats * sizeof(float) + code_bytes));
    dots = packed + packed_floats;
    split = dots + dots_floats;
    codes = packed + floats;
  }

  const int n_queries;
  const int64_t length;
  const RowCut cut;
  float *packed, *dots, *split;
  void* codes;
};

void PackQueries(const DigestScoreArgs& args, const DigestScoreItem& item, const ScoreScratch& s) {
  const int64_t d = args.head_dim;
  for (int query = 0; query < s.n_queries; ++query) {
    std::fill(s.split, s.split + s.length, 0.0f);
    const int end = args.sum_heads ? args.n_q_heads : query + 1;
    for (int h = query; h < end; ++h) AddSplitQuery(args, item.q + h * d, s.split);
    PackRow(s.cut, s.split, 1.0f, s.packed + query * s.cut.padded());
    if (args.type != DigestType::kQ8) continue;
    float* const second = s.packed + s.n_queries * s.cut.padded();
    if (IsCuboid(args.kind) || IsCode(args.kind)) PackRow(s.cut, s.split + d, 1.0f, second + query * s.cut.padded());
    if (IsSphere(args.kind)) second[query] = s.split[d];
  }
}

// Scores entries [first, first + PagesPerTask) of the pages that an item wants.
void RunDigestScore(const DigestScoreArgs& args, const DigestScoreItem& item, int64_t first, Workspace& workspace,
                    int thread) {
  const ScoreScratch s(args, workspace, thread);
  PackQueries(args, item, s);
  const auto score_vectors = [&](int64_t begin, int64_t end) {
    switch (args.type) {
      case DigestType::kF16: return ScoreRun<f16_t>(args, item, begin, end, s.packed, s.n_queries);
      case DigestType::kF32: return ScoreRun<float>(args, item, begin, end, s.packed, s.n_queries);
      case DigestType::kQ8: return ScoreRunQ8(args, item, begin, end, s.packed, s.n_queries, s.dots);
    }
  };
  if (!IsCode(args.kind)) return ForEachRun(item, first, PagesPerTask(args.kind), score_vectors);
  const CodeQuery query(args, item, s.codes);
  ForEachRun(item, first, PagesPerTask(args.kind), [&](int64_t begin, int64_t end) {
    score_vectors(begin, end);
    query.AddBestKeys(begin, end);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunDigestScore);

namespace cpu {

Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args) {
  int64_t most = 0;
  for (const DigestScoreItem& item : args.items) most = std::max(most, WantedPages(item));
  const auto n_items = static_cast<int64_t>(args.items.size());
  const int64_t per_task = PagesPerTask(args.kind);
  const auto run = HWY_DYNAMIC_DISPATCH(RunDigestScore);
  ctx.pool->ParallelFor((most + per_task - 1) / per_task * n_items, [&](int64_t i, int thread) {
    const DigestScoreItem& item = args.items[i % n_items];
    const int64_t first = i / n_items * per_task;
    if (first < WantedPages(item)) run(args, item, first, *ctx.workspace, thread);
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
