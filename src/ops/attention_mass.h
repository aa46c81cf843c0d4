// AttentionMass: what query tokens really look at: their softmax rows, averaged over the query heads of each kv head
// and added up over the tokens. H2O and TOVA rank tokens by it, the evaluation measures sparsity with it
// (algorithms 6.2, 8).
#pragma once

#include <cstdint>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

struct AttentionMassArgs {
  // One row per group of one sequence, in head order, as in PrefillAttention. V is not read and may be null.
  PagedKv kv;
  int32_t q_heads_per_kv_head = 1;
  float scale = 1.0f;          // scores are scale * q.k
  float softcap = 0.0f;        // scores become softcap * tanh(score / softcap); 0 = none
  int64_t q_position0 = 0;     // position of the first query; query i reads positions <= q_position0 + i
  MatrixView q;                // [n, n_q_heads * head_dim_k] post-RoPE, unscaled
  const float* lse = nullptr;  // [n, n_q_heads] natural logsumexp of the attention over the same tokens
  // [n_kv_heads, mass_stride], indexed by position: mass[e, t] += sum over queries of the mean over the query heads of
  // e of exp(score - lse). Positions that are not listed stay as they are.
  float* mass = nullptr;
  int64_t mass_stride = 0;
};

// A query's share is rounded to f32 and added query after query, so that cutting a prompt into chunks changes no bit. A
// head whose lse is -inf adds nothing.
Status AttentionMass(const OpContext& ctx, const AttentionMassArgs& args);

}  // namespace arkvale
