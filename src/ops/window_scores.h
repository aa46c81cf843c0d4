// WindowScores: how much the last W tokens of a prompt look at each token before them (SnapKV, arXiv 2404.14469; XKV,
// arXiv 2412.05896; algorithms 7.1).
#pragma once

#include <cstdint>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

enum class Pooling : uint8_t { kAverage, kMax };

struct WindowScoresArgs {
  // One row per group of one sequence, in head order, as in PrefillAttention: all n_tokens tokens. V may be null.
  PagedKv kv;
  int32_t q_heads_per_kv_head = 1;
  float scale = 1.0f;    // scores are scale * q.k
  float softcap = 0.0f;  // scores become softcap * tanh(score / softcap); 0 = none
  int64_t n_tokens = 0;  // N_p > W
  MatrixView q;          // [W, n_q_heads * head_dim_k]: queries of the last W tokens, post-RoPE, unscaled
  int32_t kernel = 7;    // K, odd: width of the pooling
  Pooling pooling = Pooling::kAverage;  // kAverage divides by K everywhere, also at the ends, where fewer are summed
  float* scores = nullptr;              // [n_kv_heads, n_tokens - W]
};

// scores[e, j] = sum over the query heads h of e of pool_j(u_h), u_h[j] = sum over the window's rows of their softmax
// at j; each row's softmax runs over all tokens up to its own. InvalidArgument where n_tokens <= W, or the kernel is
// even. Bits do not depend on the number of threads.
Status WindowScores(const OpContext& ctx, const WindowScoresArgs& args);

}  // namespace arkvale
