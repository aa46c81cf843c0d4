// Digests on the CPU. Every score is a plain dot product of a digest with a split query:
//   cuboid [b+ | b-] . [relu(q) | -relu(-q)]     sphere [c | r] . [q | |q|]     centroid a . q
// and the split queries of several heads may be added first (algorithms 2, identities).

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/digest_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_DIGEST_CPU_ONCE_
#define ARKVALE_OPS_DIGEST_CPU_ONCE_

#include <cmath>
#include <limits>

#include "base/f16.h"
#include "ops/cpu_kernels.h"

namespace arkvale {

// A task scores this many pages of one item.
constexpr int64_t kScorePages = 512;

enum class DigestShape { kCentroid, kSphere, kCuboid };
enum class DigestSpread { kMax, kCenter, kMean };

inline DigestShape ShapeOf(DigestKind kind) {
  if (kind == DigestKind::kCentroid) return DigestShape::kCentroid;
  return kind >= DigestKind::kCuboidMax ? DigestShape::kCuboid : DigestShape::kSphere;
}
inline DigestSpread SpreadOf(DigestKind kind) {
  if (kind == DigestKind::kSphereMax || kind == DigestKind::kCuboidMax) return DigestSpread::kMax;
  if (kind == DigestKind::kSphereCenter || kind == DigestKind::kCuboidCenter) return DigestSpread::kCenter;
  return DigestSpread::kMean;
}

// [d] -> [DigestLength], added to `split`.
inline void AddSplitQuery(DigestShape shape, const float* q, int64_t d, float* split) {
  double squares = 0;
  for (int64_t t = 0; t < d; ++t) {
    if (shape == DigestShape::kCuboid) {
      split[t] += std::max(q[t], 0.0f);
      split[d + t] -= std::max(-q[t], 0.0f);
    } else {
      split[t] += q[t];
      squares += double{q[t]} * q[t];
    }
  }
  if (shape == DigestShape::kSphere) split[d] += static_cast<float>(std::sqrt(squares));
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_DIGEST_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// Low, high of vector i of the keys over the page.
template <bool kShort, typename T>
HWY_INLINE void Bounds(const RowCut& cut, const T* keys, int64_t p, int64_t i, VF* low, VF* high) {
  *low = *high = LoadPart<kShort>(keys, cut.offset(i), cut.length);
  for (int64_t k = 1; k < p; ++k) {
    const VF x = LoadPart<kShort>(keys + k * cut.length, cut.offset(i), cut.length);
    *low = hn::Min(*low, x);
    *high = hn::Max(*high, x);
  }
}

HWY_INLINE VF Half(VF a, VF b) { return hn::Mul(hn::Add(a, b), hn::Set(DF(), 0.5f)); }

// All Build* write vectors in RowCut's layout.
template <bool kShort, typename T>
void BuildCentroid(const RowCut& cut, const T* keys, int64_t p, float* mean) {
  const DF d;
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF sum = hn::Zero(d);
    for (int64_t k = 0; k < p; ++k) {
      sum = hn::Add(sum, LoadPart<kShort>(keys + k * cut.length, cut.offset(i), cut.length));
    }
    hn::StoreU(hn::Div(sum, hn::Set(d, static_cast<float>(p))), d, mean + i * kN);
  }
}

template <bool kShort, typename T>
void BuildCuboid(const RowCut& cut, const T* keys, int64_t p, DigestSpread spread, float* upper, float* lower) {
  const DF d;
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF low, high;
    Bounds<kShort>(cut, keys, p, i, &low, &high);
    if (spread != DigestSpread::kMax) {  // centre + rho is high, exactly, for kMax
      const VF centre = Half(low, high);
      VF sum = hn::Zero(d), least = hn::Sub(high, low), most = hn::Zero(d);
      for (int64_t k = 0; k < p; ++k) {
        const VF x = LoadPart<kShort>(keys + k * cut.length, cut.offset(i), cut.length);
        const VF distance = hn::Abs(hn::Sub(centre, x));
        sum = hn::Add(sum, distance);
        least = hn::Min(least, distance);
        most = hn::Max(most, distance);
      }
      const VF rho =
          spread == DigestSpread::kMean ? hn::Div(sum, hn::Set(d, static_cast<float>(p))) : Half(least, most);
      low = hn::Sub(centre, rho);
      high = hn::Add(centre, rho);
    }
    hn::StoreU(high, d, upper + i * kN);
    hn::StoreU(low, d, lower + i * kN);
  }
}

// squares [p * kN]: scratch for the squared distances, per lane.
template <bool kShort, typename T>
float BuildSphere(const RowCut& cut, const T* keys, int64_t p, DigestSpread spread, float* centre, float* squares) {
  const DF d;
  std::fill(squares, squares + p * kN, 0.0f);
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF low, high;
    Bounds<kShort>(cut, keys, p, i, &low, &high);
    const VF c = Half(low, high);
    hn::StoreU(c, d, centre + i * kN);
    // Lanes that the vector before covers, or past a short row, count once and not at all.
    const int64_t first = kShort ? 0 : i * kN - cut.offset(i), end = kShort ? cut.length : kN;
    const auto counts = hn::And(hn::Ge(hn::Iota(d, 0), hn::Set(d, static_cast<float>(first))),
                                hn::Lt(hn::Iota(d, 0), hn::Set(d, static_cast<float>(end))));
    for (int64_t k = 0; k < p; ++k) {
      const VF x = LoadPart<kShort>(keys + k * cut.length, cut.offset(i), cut.length);
      const VF difference = hn::IfThenElseZero(counts, hn::Sub(c, x));
      hn::StoreU(hn::MulAdd(difference, difference, hn::LoadU(d, squares + k * kN)), d, squares + k * kN);
    }
  }
  float sum = 0, least = std::numeric_limits<float>::infinity(), most = 0;
  for (int64_t k = 0; k < p; ++k) {
    const float distance = std::sqrt(hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, squares + k * kN))));
    sum += distance;
    least = std::min(least, distance);
    most = std::max(most, distance);
  }
  if (spread == DigestSpread::kMax) return most;
  return spread == DigestSpread::kCenter ? (least + most) / 2 : sum / static_cast<float>(p);
}

template <bool kShort, typename T>
void BuildDigest(const DigestBuildArgs& args, const DigestBuildItem& item, float* scratch) {
  const RowCut cut(args.head_dim);
  const int64_t d = args.head_dim, length = DigestLength(args.kind, d), p = args.page_tokens;
  float* const first = scratch;
  float* const second = first + cut.padded();
  float* const result = second + cut.padded();
  const auto* keys = static_cast<const T*>(item.keys);
  const DigestSpread spread = SpreadOf(args.kind);
  switch (ShapeOf(args.kind)) {
    case DigestShape::kCentroid: BuildCentroid<kShort>(cut, keys, p, first); break;
    case DigestShape::kSphere: result[d] = BuildSphere<kShort>(cut, keys, p, spread, first, result + 2 * d + 1); break;
    case DigestShape::kCuboid:
      BuildCuboid<kShort>(cut, keys, p, spread, first, second);
      UnpackRow(cut, second, 1.0f, result + d);
      break;
  }
  UnpackRow(cut, first, 1.0f, result);
  if (args.digest_dtype == DType::kF32) {
    std::copy(result, result + length, static_cast<float*>(item.out));
  } else {
    std::transform(result, result + length, static_cast<f16_t*>(item.out), F32ToF16);
  }
}

void RunDigestBuild(const DigestBuildArgs& args, int64_t i, Workspace& workspace, int thread) {
  const RowCut cut(args.head_dim);
  const int64_t floats = 2 * cut.padded() + 2 * args.head_dim + 1 + args.page_tokens * kN;
  auto* scratch = static_cast<float*>(workspace.PerThread(thread, floats * sizeof(float)));
  const DigestBuildItem& item = args.items[i];
  if (args.key_dtype == DType::kF16) {
    cut.is_short() ? BuildDigest<true, f16_t>(args, item, scratch) : BuildDigest<false, f16_t>(args, item, scratch);
  } else {
    cut.is_short() ? BuildDigest<true, float>(args, item, scratch) : BuildDigest<false, float>(args, item, scratch);
  }
}

// Scores pages [first, first + kScorePages) of an item.
void RunDigestScore(const DigestScoreArgs& args, const DigestScoreItem& item, int64_t first, Workspace& workspace,
                    int thread) {
  const RowCut cut(DigestLength(args.kind, args.head_dim));
  const int64_t n_queries = args.sum_heads ? 1 : args.n_q_heads;
  auto* packed =
      static_cast<float*>(workspace.PerThread(thread, (n_queries * cut.padded() + cut.length) * sizeof(float)));
  float* split = packed + n_queries * cut.padded();
  for (int64_t query = 0; query < n_queries; ++query) {
    std::fill(split, split + cut.length, 0.0f);
    const int64_t end = args.sum_heads ? args.n_q_heads : query + 1;
    for (int64_t h = query; h < end; ++h) {
      AddSplitQuery(ShapeOf(args.kind), item.q + h * args.head_dim, args.head_dim, split);
    }
    PackRow(cut, split, 1.0f, packed + query * cut.padded());
  }
  const int64_t n = std::min(kScorePages, item.n_pages - first);
  if (args.digest_dtype == DType::kF16) {
    DotRows(cut, static_cast<const f16_t*>(item.digests) + first * cut.length, n, packed, static_cast<int>(n_queries),
            item.scores + first, item.n_pages, nullptr);
  } else {
    DotRows(cut, static_cast<const float*>(item.digests) + first * cut.length, n, packed, static_cast<int>(n_queries),
            item.scores + first, item.n_pages, nullptr);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunDigestBuild);
HWY_EXPORT(RunDigestScore);

namespace cpu {

Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args) {
  const auto run = HWY_DYNAMIC_DISPATCH(RunDigestBuild);
  ctx.pool->ParallelFor(static_cast<int64_t>(args.items.size()),
                        [&](int64_t i, int thread) { run(args, i, *ctx.workspace, thread); });
  return OkStatus();
}

Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args) {
  int64_t most = 0;
  for (const DigestScoreItem& item : args.items) most = std::max(most, item.n_pages);
  const auto n_items = static_cast<int64_t>(args.items.size());
  const auto run = HWY_DYNAMIC_DISPATCH(RunDigestScore);
  ctx.pool->ParallelFor((most + kScorePages - 1) / kScorePages * n_items, [&](int64_t i, int thread) {
    const DigestScoreItem& item = args.items[i % n_items];
    const int64_t first = i / n_items * kScorePages;
    if (first < item.n_pages) run(args, item, first, *ctx.workspace, thread);
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
