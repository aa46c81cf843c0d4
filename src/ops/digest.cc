#include "ops/digest.h"

#include <string>

#include "ops/arg_check.h"
#include "ops/digest_layout.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

int64_t VectorBytes(DigestKind kind, DigestType type, int64_t head_dim) {
  const int64_t length = DigestLength(kind, head_dim);
  switch (type) {
    case DigestType::kF16: return length * 2;
    case DigestType::kF32: return length * 4;
    case DigestType::kQ8: break;
  }
  return Q8HeaderBytes(kind) + (IsSphere(kind) ? head_dim : length);
}

}  // namespace

Result<DigestLayout> MakeDigestLayout(DigestKind kind, DigestType type, int32_t page_tokens, int32_t head_dim) {
  if (kind > DigestKind::kCode2) {
    return InvalidArgument("digest: kind " + std::to_string(static_cast<int>(kind)) + " unknown");
  }
  if (type > DigestType::kQ8) {
    return InvalidArgument("digest: type " + std::to_string(static_cast<int>(type)) + " unknown");
  }
  if (page_tokens < 1) {
    return InvalidArgument("digest: page of " + std::to_string(page_tokens) + " tokens, must be >= 1");
  }
  if (head_dim < 1) return InvalidArgument("digest: head dim " + std::to_string(head_dim) + " < 1");
  DigestLayout layout{.vector_bytes = VectorBytes(kind, type, head_dim)};
  if (!IsCode(kind)) return layout;
  if (page_tokens % 8 != 0 || head_dim % 8 != 0) {
    return InvalidArgument("digest " + std::string(DigestName(kind)) + ": page of " + std::to_string(page_tokens) +
                           " tokens, head dim " + std::to_string(head_dim) + ": both must be multiples of 8");
  }
  layout.n_planes = kind == DigestKind::kCode1 ? 1 : 2;
  layout.plane_bytes = CodeBlocks(head_dim) * kCodeBlock * page_tokens / 8;
  return layout;
}

Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args) {
  const auto layout = MakeDigestLayout(args.kind, args.type, args.page_tokens, args.head_dim);
  if (!layout.ok()) return layout.status();
  ARKVALE_RETURN_IF_ERROR(CheckRowType("digest_build", "keys", args.key_dtype, args.head_dim));
  for (size_t i = 0; i < args.items.size(); ++i) {
    const DigestBuildItem& item = args.items[i];
    if (item.keys == nullptr || item.vectors == nullptr) return WrongItem("digest_build", i, "null keys or vectors");
    for (int32_t plane = 0; plane < layout->n_planes; ++plane) {
      if (item.planes[plane] == nullptr) return WrongItem("digest_build", i, "null plane " + std::to_string(plane));
    }
  }
  return ctx.ops->digest_build(ctx, args);
}

Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args) {
  const auto layout = MakeDigestLayout(args.kind, args.type, args.page_tokens, args.head_dim);
  if (!layout.ok()) return layout.status();
  if (args.n_q_heads < 1) {
    return InvalidArgument("digest_score: " + std::to_string(args.n_q_heads) + " query heads, must be >= 1");
  }
  if (IsCode(args.kind) && args.sum_heads) {
    return InvalidArgument("digest_score: " + std::string(DigestName(args.kind)) + " scores one query head each");
  }
  for (size_t i = 0; i < args.items.size(); ++i) {
    const DigestScoreItem& item = args.items[i];
    if (item.n_pages < 0) return WrongItem("digest_score", i, "negative number of pages");
    ARKVALE_RETURN_IF_ERROR(CheckPageList("digest_score", i, "pages to score", item.pages, item.n_pages));
    if (item.n_pages == 0) continue;
    if (item.key_scores != nullptr && args.kind != DigestKind::kCode2) {
      return WrongItem("digest_score", i, "scores of keys, which " + std::string(DigestName(args.kind)) + " has not");
    }
    if (item.vectors == nullptr || item.q == nullptr || item.scores == nullptr) {
      return WrongItem("digest_score", i, "null vectors, q or scores");
    }
    for (int32_t plane = 0; plane < layout->n_planes; ++plane) {
      if (item.planes[plane] == nullptr) return WrongItem("digest_score", i, "null plane " + std::to_string(plane));
    }
  }
  return ctx.ops->digest_score(ctx, args);
}

}  // namespace arkvale
