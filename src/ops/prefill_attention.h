// PrefillAttention: a chunk of consecutive query tokens of one sequence against its pages, causal, blocked so that
// scores never leave the cache (FlashAttention-2's loop order, arXiv 2307.08691).
#pragma once

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

struct PrefillAttentionArgs {
  // One row per group of the sequence, in head order, so that rows * heads_per_row = kv heads. Lists include the pages
  // of the chunk itself. Tokens past a row's last_page_tokens are never read as values of weight > 0 but their memory
  // must be readable.
  PagedKv kv;
  int32_t q_heads_per_kv_head = 1;
  float scale = 1.0f;
  float softcap = 0.0f;     // scores become softcap * tanh(score / softcap) (gemma2); 0 = none
  int64_t q_position0 = 0;  // position of the chunk's first token
  int32_t window = 0;       // a token reads itself and the window-1 tokens before it; 0 = all before it
  MatrixView q;             // [n, n_q_heads * head_dim_k] post-RoPE, unscaled
  MatrixView out;           // [n, n_q_heads * head_dim_v]
  float* lse = nullptr;     // [n, n_q_heads] natural logsumexp, or null
};

// A query attends to listed tokens whose position is <= its own (and inside the window). A query with no such token
// gives out = 0 and lse = -inf. A query's bits depend only on its position and its list of pages, not on the chunk it
// came in: pages are visited in list order in units of 64 tokens of position.
Status PrefillAttention(const OpContext& ctx, const PrefillAttentionArgs& args);

}  // namespace arkvale
