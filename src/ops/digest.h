// Page digests (ArkVale paper section 4.1; algorithms 2): small summaries of a page's keys from which the largest
// possible q.k of the page is estimated without reading the page.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "base/dtype.h"
#include "ops/context.h"

namespace arkvale {

// Kinds (arkvale/kv_options.h) and scores: centroid q.a; sphere q.c + r |q|; cuboid sum_t max(q_t b+_t, q_t b-_t).

// Elements one digest of a head of `head_dim` dimensions takes: cuboid [b+ | b-] 2d, sphere [c | r] d+1, centroid d.
int64_t DigestLength(DigestKind kind, int64_t head_dim);

// One page of one kv head to summarise.
struct DigestBuildItem {
  const void* keys = nullptr;  // [page_tokens, head_dim] of `key_dtype`, contiguous, post-RoPE
  void* out = nullptr;         // [DigestLength] of `digest_dtype`
};

struct DigestBuildArgs {
  DigestKind kind = DigestKind::kCuboidMean;
  DType key_dtype = DType::kF16;
  DType digest_dtype = DType::kF16;  // f16 or f32
  int32_t page_tokens = 32;
  int32_t head_dim = 0;
  std::span<const DigestBuildItem> items;
};

// Builds in f32 and rounds once to digest_dtype.
Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args);

// One kv head's digests to score against the query heads that read it.
struct DigestScoreItem {
  const void* digests = nullptr;  // [n_pages, DigestLength], contiguous
  int64_t n_pages = 0;
  const float* q = nullptr;  // [n_q_heads, head_dim] f32, contiguous, post-RoPE, unscaled
  float* scores = nullptr;   // per head: [n_q_heads, n_pages]; summed: [n_pages]
};

struct DigestScoreArgs {
  DigestKind kind = DigestKind::kCuboidMean;
  DType digest_dtype = DType::kF16;
  int32_t head_dim = 0;
  int32_t n_q_heads = 1;
  bool sum_heads = false;  // true: scores = sum over the query heads (the digests are linear in the split query)
  std::span<const DigestScoreItem> items;
};

// Scores in f32, unscaled estimates of max_i q.k_i.
Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args);

}  // namespace arkvale
