#include "ops/prefill_attention.h"

#include <cmath>
#include <string>

#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {
namespace {

constexpr int32_t kUnitTokens = 64;

Status Wrong(const std::string& what) { return InvalidArgument("prefill_attention: " + what); }

Status CheckMatrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols) {
  if (m.rows != rows || m.cols != cols || m.stride < m.cols || (rows > 0 && m.data == nullptr)) {
    return Wrong(std::string(name) + " is [" + std::to_string(m.rows) + ", " + std::to_string(m.cols) +
                 "] with stride " + std::to_string(m.stride) + ", must be [" + std::to_string(rows) + ", " +
                 std::to_string(cols) + "]");
  }
  return OkStatus();
}

// Units of 64 positions are made of whole pages.
Status CheckPositions(const PagedKv& kv) {
  if (kUnitTokens % kv.page_tokens != 0) {
    return Wrong("page of " + std::to_string(kv.page_tokens) + " tokens, must divide " + std::to_string(kUnitTokens));
  }
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    int64_t least = 0;
    for (int64_t i = kv.page_begin[row]; i < kv.page_begin[row + 1]; ++i) {
      if (kv.page_positions == nullptr) return Wrong("null page positions");
      const int64_t position = kv.page_positions[i];
      if (position < least || position % kv.page_tokens != 0) {
        return Wrong("row " + std::to_string(row) + ": page at position " + std::to_string(position) +
                     ", must be a multiple of " + std::to_string(kv.page_tokens) + " and >= " + std::to_string(least));
      }
      least = position + kv.page_tokens;
    }
  }
  return OkStatus();
}

}  // namespace

Status PrefillAttention(const OpContext& ctx, const PrefillAttentionArgs& args) {
  const PagedKv& kv = args.kv;
  ARKVALE_RETURN_IF_ERROR(CheckPagedKv("prefill_attention", kv));
  if (args.q_heads_per_kv_head < 1) {
    return Wrong(std::to_string(args.q_heads_per_kv_head) + " query heads per kv head, must be >= 1");
  }
  if (!(args.softcap >= 0.0f) || !std::isfinite(args.softcap)) {
    return Wrong("softcap " + std::to_string(args.softcap) + ", must be a number >= 0 (0 means none)");
  }
  if (args.q_position0 < 0) return Wrong("first position " + std::to_string(args.q_position0) + " < 0");
  if (args.window < 0) return Wrong("window " + std::to_string(args.window) + " < 0 (0 means none)");
  const int64_t n_q_heads = int64_t{kv.n_rows} * kv.heads_per_row * args.q_heads_per_kv_head;
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("q", args.q, args.q.rows, n_q_heads * kv.head_dim_k));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("out", args.out, args.q.rows, n_q_heads * kv.head_dim_v));
  ARKVALE_RETURN_IF_ERROR(CheckPositions(kv));
  if (args.q.rows <= 0 || n_q_heads == 0) return OkStatus();
  return ctx.ops->prefill_attention(ctx, args);
}

}  // namespace arkvale
