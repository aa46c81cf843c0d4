// PagedAttention: one query token per row against the row's pages (decode).
#pragma once

#include "arkvale/status.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

struct PagedAttentionArgs {
  PagedKv kv;
  int32_t q_heads_per_kv_head = 1;  // query heads that read one kv head (GQA)
  float scale = 1.0f;               // scores are scale * q.k
  float softcap = 0.0f;             // scores become softcap * tanh(score / softcap) (gemma2); 0 = none
  // Per row: queries [heads_per_row * q_heads_per_kv_head, head_dim_k] f32 contiguous, post-RoPE, unscaled; output
  // [same heads, head_dim_v]; natural logsumexp of the scores [same heads] (the array or single entries may be null).
  const float* const* q = nullptr;
  float* const* out = nullptr;
  float* const* lse = nullptr;
};

// Softmax over exactly the listed tokens. A row without pages gives out = 0 and lse = -inf.
// Long rows are cut into partial results at fixed page counts and joined in order, so the bits depend only on the row.
Status PagedAttention(const OpContext& ctx, const PagedAttentionArgs& args);

}  // namespace arkvale
