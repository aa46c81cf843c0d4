// ZoneAttention: one query token's attention over pages that are not read but estimated from their codes (algorithms
// 4.4b): keys from the code2 digest, values from the value codes.
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "ops/context.h"

namespace arkvale {

// One kv head of one sequence.
struct ZoneAttentionItem {
  const void* vectors = nullptr;               // [n_pages] code2 digests as DigestBuild leaves them: vector_bytes
  const void* planes[2] = {nullptr, nullptr};  // [n_pages] of plane_bytes
  const void* values = nullptr;                // [n_pages] value codes as ValueCodesBuild leaves them: page_bytes
  int64_t n_pages = 0;
  std::span<const int32_t> pages;  // the zone, ascending; may be empty
  // What DigestScore left of all pages for the same q, [n_q_heads, n_pages, page_tokens], or null. Same bits either
  // way; with it neither vectors nor planes are read, and they may be null. It saves a zone of all pages nearly half
  // its time; for a thirtieth of the pages, leaving the scores costs more than reading them saves.
  const float* key_scores = nullptr;
  const float* q = nullptr;  // [n_q_heads, head_dim_k] f32, contiguous, post-RoPE, unscaled
  float* out = nullptr;      // [n_q_heads, head_dim_v]
  float* lse = nullptr;      // [n_q_heads] natural logsumexp of the scores
};

struct ZoneAttentionArgs {
  DigestType digest_type = DigestType::kF16;
  int32_t value_bits = 2;
  int32_t page_tokens = 32;
  int32_t head_dim_k = 0;
  int32_t head_dim_v = 0;
  int32_t n_q_heads = 1;  // query heads that read the kv head (GQA)
  float scale = 1.0f;     // scores are scale * q.k
  float softcap = 0.0f;   // scores become softcap * tanh(score / softcap) (gemma2); 0 = none
  std::span<const ZoneAttentionItem> items;
};

// Softmax over all tokens of the listed pages, with q.k = the estimate of DigestScore for that key (before its maximum
// over the page's keys, so with its error) and v = lo + st x. An empty zone gives out = 0 and lse = -inf: what
// MergeState takes. lse is that of f32 scores. In out, the weights e of at most 32 tokens of a page at a time are
// rounded in their products with x: each a = e st to within one step, which is the larger of max a / 255 and
// (2^bits - 1) sum a / 32000; the products with lo are not rounded.
// Zones are cut into partial results at fixed page counts and joined in order, so the bits depend only on the item.
Status ZoneAttention(const OpContext& ctx, const ZoneAttentionArgs& args);

}  // namespace arkvale
