// Plain loops: a row costs thousands of times less here than in its experts' matrices.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cpu_kernels.h"
#include "ops/row_strips.h"
#include "ops/top_k.h"

namespace arkvale::cpu {
namespace {

void RouteRow(const float* logits, int64_t n_experts, int64_t k, int32_t* ids, float* weights) {
  // Insertion into a sorted list of k: k is a handful.
  int64_t held = 0;
  for (int64_t e = 0; e < n_experts; ++e) {
    int64_t at = held;
    while (at > 0 && RanksBefore(logits[e], e, logits[ids[at - 1]], ids[at - 1])) --at;
    if (at == k) continue;
    held = std::min(k, held + 1);
    for (int64_t i = held - 1; i > at; --i) ids[i] = ids[i - 1];
    ids[at] = static_cast<int32_t>(e);
  }
  const auto power = [&](int64_t i) {  // NaN where no logit is finite
    const double logit = logits[ids[i]];
    return std::isnan(logit) ? 0.0 : std::exp(logit - logits[ids[0]]);
  };
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += power(i);
  for (int64_t i = 0; i < k; ++i) {
    const double weight = power(i) / sum;
    weights[i] = static_cast<float>(std::isnan(weight) ? 1.0 / static_cast<double>(k) : weight);
  }
}

}  // namespace

Status RouteExperts(const OpContext& ctx, const MatrixView& logits, int64_t k, std::span<int32_t> ids,
                    std::span<float> weights) {
  ForRowStrips(ctx, logits.rows, logits.cols * 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      RouteRow(logits.row(i), logits.cols, k, ids.data() + i * k, weights.data() + i * k);
    }
  });
  return OkStatus();
}

Status GatherRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows, const MatrixView& out) {
  ForRowStrips(ctx, out.rows, out.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(out.row(i), x.row(rows[static_cast<size_t>(i)]), static_cast<size_t>(x.cols) * sizeof(float));
    }
  });
  return OkStatus();
}

Status ScatterAddRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows,
                      std::span<const float> weights, const MatrixView& out) {
  ForRowStrips(ctx, x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = x.row(i);
      float* to = out.row(rows[static_cast<size_t>(i)]);
      const float weight = weights[static_cast<size_t>(i)];
      for (int64_t c = 0; c < x.cols; ++c) to[c] += weight * from[c];
    }
  });
  return OkStatus();
}

}  // namespace arkvale::cpu
