// PageScores: what a query really sees of each page, without reading V: the largest q.k and the mass. Ground truth of
// --kv-audit, and the exact part of the softmax-pinned combination (algorithms 3.1).
#pragma once

#include "arkvale/status.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

struct PageScoresArgs {
  PagedKv kv;                       // V is not read and may be null
  int32_t q_heads_per_kv_head = 1;  // query heads that read one kv head (GQA)
  float scale = 1.0f;               // scores are scale * q.k
  float softcap = 0.0f;             // scores become softcap * tanh(score / softcap); 0 = none
  // Per row, with heads = heads_per_row * q_heads_per_kv_head and pages = pages of the row's list, in its order:
  const float* const* q = nullptr;  // [heads, head_dim_k] f32 contiguous, post-RoPE, unscaled
  float* const* max_qk =
      nullptr;                  // [heads, pages] max_i q.k_i, unscaled and uncapped; the array or entries may be null
  float* const* lse = nullptr;  // [heads, pages] natural logsumexp_i of the scores; the same
};

// Rows, skips and partly filled last pages as in PagedAttention. Bits depend only on the row.
Status PageScores(const OpContext& ctx, const PageScoresArgs& args);

}  // namespace arkvale
