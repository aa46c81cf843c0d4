#include "ops/reference_scores.h"

#include <algorithm>
#include <cmath>

#include "ops/reference_attention.h"

namespace arkvale::reference {
namespace {

// Relative error of exp(score - lse) from dot products of f32 whose largest is `top`.
double ShareError(const PagedKv& kv, double top) { return 4e-7 * (8 + top * std::sqrt(kv.head_dim_k)); }

}  // namespace

Mass AttentionMass(const AttentionMassArgs& args) {
  const PagedKv& kv = args.kv;
  const int64_t kv_heads = int64_t{kv.n_rows} * kv.heads_per_row, gqa = args.q_heads_per_kv_head;
  Mass mass{std::vector<double>(kv_heads * args.mass_stride), std::vector<double>(kv_heads * args.mass_stride)};
  for (int64_t i = 0; i < args.q.rows; ++i) {
    for (int64_t h = 0; h < kv_heads * gqa; ++h) {
      const int64_t e = h / gqa;
      const double lse = args.lse[i * kv_heads * gqa + h];
      if (std::isinf(lse)) continue;
      for (const TokenScore& t :
           TokenScores(kv, static_cast<int32_t>(e / kv.heads_per_row), static_cast<int32_t>(e % kv.heads_per_row),
                       args.q.row(i) + h * kv.head_dim_k, args.scale, args.softcap, args.q_position0 + i)) {
        const int64_t at = e * args.mass_stride + t.position;
        mass.added[at] += std::exp(t.score - lse) / static_cast<double>(gqa);
        mass.error[at] = std::max(mass.error[at], ShareError(kv, std::abs(t.uncapped)));
      }
    }
  }
  return mass;
}

std::vector<double> Pool(const std::vector<double>& u, int32_t kernel, Pooling pooling) {
  const auto n = static_cast<int64_t>(u.size());
  std::vector<double> pooled(u.size());
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0, top = u[j];
    for (int64_t i = j - kernel / 2; i <= j + kernel / 2; ++i) {
      if (i < 0 || i >= n) continue;
      sum += u[i];
      top = std::max(top, u[i]);
    }
    pooled[j] = pooling == Pooling::kMax ? top : sum / kernel;
  }
  return pooled;
}

Window WindowScores(const WindowScoresArgs& args) {
  const PagedKv& kv = args.kv;
  const int64_t kv_heads = int64_t{kv.n_rows} * kv.heads_per_row, gqa = args.q_heads_per_kv_head;
  const int64_t n = args.n_tokens - args.q.rows;
  Window window{std::vector<double>(kv_heads * n), 0};
  for (int64_t h = 0; h < kv_heads * gqa; ++h) {
    const int64_t e = h / gqa;
    std::vector<double> u(n);
    for (int64_t w = 0; w < args.q.rows; ++w) {
      const auto scores =
          TokenScores(kv, static_cast<int32_t>(e / kv.heads_per_row), static_cast<int32_t>(e % kv.heads_per_row),
                      args.q.row(w) + h * kv.head_dim_k, args.scale, args.softcap, n + w);
      double top = -INFINITY, sum = 0, largest = 0;
      for (const TokenScore& t : scores) top = std::max(top, t.score);
      for (const TokenScore& t : scores) sum += std::exp(t.score - top);
      for (const TokenScore& t : scores) largest = std::max(largest, std::abs(t.uncapped));
      for (const TokenScore& t : scores) {
        if (t.position < n) u[t.position] += std::exp(t.score - top) / sum;
      }
      window.error = std::max(window.error, 2 * ShareError(kv, largest));
    }
    const std::vector<double> pooled = Pool(u, args.kernel, args.pooling);
    for (int64_t j = 0; j < n; ++j) window.scores[e * n + j] += pooled[j];
  }
  return window;
}

}  // namespace arkvale::reference
