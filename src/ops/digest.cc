#include "ops/digest.h"

#include <string>

#include "ops/op_table.h"

namespace arkvale {
namespace {

constexpr auto kLastKind = DigestKind::kCuboidMean;

Status CheckTypes(const char* op, DigestKind kind, DType dtype, int32_t head_dim) {
  if (kind > kLastKind) {
    return InvalidArgument(std::string(op) + ": digest kind " + std::to_string(static_cast<int>(kind)) + " unknown");
  }
  if (dtype != DType::kF16 && dtype != DType::kF32) {
    return InvalidArgument(std::string(op) + ": " + std::string(DTypeName(dtype)) + " not supported: f16 or f32");
  }
  if (head_dim < 1) return InvalidArgument(std::string(op) + ": head dim " + std::to_string(head_dim) + " < 1");
  return OkStatus();
}

Status WrongItem(const char* op, size_t i, const char* what) {
  return InvalidArgument(std::string(op) + ": item " + std::to_string(i) + ": " + what);
}

}  // namespace

int64_t DigestLength(DigestKind kind, int64_t head_dim) {
  if (kind == DigestKind::kCentroid) return head_dim;
  return kind >= DigestKind::kCuboidMax ? 2 * head_dim : head_dim + 1;
}

Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args) {
  ARKVALE_RETURN_IF_ERROR(CheckTypes("digest_build", args.kind, args.digest_dtype, args.head_dim));
  ARKVALE_RETURN_IF_ERROR(CheckTypes("digest_build", args.kind, args.key_dtype, args.head_dim));
  if (args.page_tokens < 1) {
    return InvalidArgument("digest_build: page of " + std::to_string(args.page_tokens) + " tokens, must be >= 1");
  }
  for (size_t i = 0; i < args.items.size(); ++i) {
    if (args.items[i].keys == nullptr || args.items[i].out == nullptr) {
      return WrongItem("digest_build", i, "null keys or out");
    }
  }
  return ctx.ops->digest_build(ctx, args);
}

Status DigestScore(const OpContext& ctx, const DigestScoreArgs& args) {
  ARKVALE_RETURN_IF_ERROR(CheckTypes("digest_score", args.kind, args.digest_dtype, args.head_dim));
  if (args.n_q_heads < 1) {
    return InvalidArgument("digest_score: " + std::to_string(args.n_q_heads) + " query heads, must be >= 1");
  }
  for (size_t i = 0; i < args.items.size(); ++i) {
    const DigestScoreItem& item = args.items[i];
    if (item.n_pages < 0) return WrongItem("digest_score", i, "negative number of pages");
    if (item.n_pages > 0 && (item.digests == nullptr || item.q == nullptr || item.scores == nullptr)) {
      return WrongItem("digest_score", i, "null digests, q or scores");
    }
  }
  return ctx.ops->digest_score(ctx, args);
}

}  // namespace arkvale
