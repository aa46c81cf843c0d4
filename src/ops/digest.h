// Page digests (ArkVale paper section 4.1; algorithms 2): small summaries of a page's keys from which the largest
// possible q.k of the page is estimated without reading the page.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "base/dtype.h"
#include "ops/context.h"

namespace arkvale {

// Kinds (arkvale/kv_options.h) and scores of a query q:
//   centroid    a                q.a
//   sphere-*    c, r             q.c + r |q|
//   cuboid-*    b+, b-           sum_t max(q_t b+_t, q_t b-_t)
//   code1       c, rho; s        q.c + max_i sum_t q_t rho_t s_it           s_it = +-1: the key's side of the centre
//   code2       m, w; u          q.(m + w/2) + max_i sum_t q_t w_t u_it     u_it in 0..3: the key's quarter of the box
// A digest is one or two vectors, and for the codes one or two bit planes. u = 2 * high + low; plane 0 is the high bit
// (code1's only one), plane 1 the low bit.
// In q8 cuboids are kept as c and rho, each rounded to nearest: b+ >= b- holds, but cuboid-max need not bound q.k.

// Where the parts of a page's digest lie: vectors of consecutive pages are contiguous, planes too, each in an array of
// its own, so that a pass over one part reads nothing else.
struct DigestLayout {
  int64_t vector_bytes = 0;  // of one page: f16, f32, or q8 = an f16 scale per vector and 8 bits per channel
  int64_t plane_bytes = 0;   // of one page and plane: page_tokens * head_dim bits, head_dim rounded up to 32; the order
                             // is the op's own (digest_layout.h)
  int32_t n_planes = 0;      // 0, 1 (code1) or 2 (code2)

  int64_t bytes() const { return vector_bytes + n_planes * plane_bytes; }
};

// InvalidArgument for a kind or type that has no kernel, or codes with page_tokens or head_dim not a multiple of 8.
Result<DigestLayout> MakeDigestLayout(DigestKind kind, DigestType type, int32_t page_tokens, int32_t head_dim);

inline bool IsCode(DigestKind kind) { return kind == DigestKind::kCode1 || kind == DigestKind::kCode2; }

// One page of one kv head to summarise.
struct DigestBuildItem {
  const void* keys = nullptr;            // [page_tokens, head_dim] of `key_dtype`, rows contiguous, post-RoPE
  void* vectors = nullptr;               // vector_bytes
  void* planes[2] = {nullptr, nullptr};  // plane_bytes each; those the kind has not are ignored
};

struct DigestBuildArgs {
  DigestKind kind = DigestKind::kCuboidMean;
  DType key_dtype = DType::kF16;
  DigestType type = DigestType::kF16;
  int32_t page_tokens = 32;
  int32_t head_dim = 0;
  std::span<const DigestBuildItem> items;
};

// Builds in f32 and rounds once. Codes are taken against the rounded vectors, which scoring will see.
Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args);

// One kv head's digests to score against the query heads that read it.
struct DigestScoreItem {
  const void* vectors = nullptr;               // [n_pages] of vector_bytes
  const void* planes[2] = {nullptr, nullptr};  // [n_pages] of plane_bytes
  int64_t n_pages = 0;
  const float* q = nullptr;        // [n_q_heads, head_dim] f32, contiguous, post-RoPE, unscaled
  std::span<const int32_t> pages;  // empty: all. Else only these (ascending) are scored
  float* scores = nullptr;         // per head: [n_q_heads, n_pages]; summed: [n_pages]. With `pages`, of those
  // code2 only, or null: the estimates of every key, [n_q_heads, n_pages, page_tokens], whose largest is the page's
  // score. With `pages`, of those.
  float* key_scores = nullptr;
};

struct DigestScoreArgs {
  DigestKind kind = DigestKind::kCuboidMean;
  DigestType type = DigestType::kF16;
  int32_t page_tokens = 32;
  int32_t head_dim = 0;
  int32_t n_q_heads = 1;
  bool sum_heads = false;  // true: scores = sum over the query heads (linear in the split query); not for codes
  std::span<const DigestScoreItem> items;
  // Called once per item, on the thread that finished it, when all its scores are written; other items may be under way
  // then. So what follows on an item's scores needs no parallel loop of its own. Null: nothing is called.
  const std::function<void(int64_t item, int thread)>* item_done = nullptr;
};

// Estimates of max_i q.k_i, unscaled, f32. A page's score does not depend on which other pages are scored. The code
// digests' sums over q_t w_t (rho_t) use 16-bit integers: a score is off by at most 1.5 U d |q| |w| / 31000 and f32
// roundings, U = 3 for code2, 2 for code1; |.| Euclidean.
Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args);

}  // namespace arkvale
