// Mixture of experts (arXiv 1701.06538): which experts a token goes to, and moving rows to and from an expert.
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"

namespace arkvale {

// For each row of logits [n, n_experts] the k experts of highest logit, best first, and their weights: the softmax over
// all experts, renormalised over the chosen ones, which is the softmax over the chosen ones alone. Equal logits go to
// the smaller index, NaN counts as -inf; a row without a finite logit gets equal weights.
// ids, weights: [n * k] row-major. InvalidArgument unless 1 <= k <= n_experts and sizes agree.
Status RouteExperts(const OpContext& ctx, const MatrixView& logits, int64_t k, std::span<int32_t> ids,
                    std::span<float> weights);

// out[i] = x[rows[i]]. out: [rows.size(), d], no overlap with x.
Status GatherRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows, const MatrixView& out);

// out[rows[i]] += weights[i] * x[i]. rows are distinct; x: [rows.size(), d].
Status ScatterAddRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows,
                      std::span<const float> weights, const MatrixView& out);

}  // namespace arkvale
