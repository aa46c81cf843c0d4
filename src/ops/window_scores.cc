#include "ops/window_scores.h"

#include <string>

#include "ops/arg_check.h"
#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {
namespace {

Status Wrong(const std::string& what) { return InvalidArgument("window_scores: " + what); }

// Each row lists positions 0 .. n_tokens-1, perhaps more.
Status CheckComplete(const PagedKv& kv, int64_t n_tokens) {
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    const int64_t begin = kv.page_begin[row], n_pages = kv.page_begin[row + 1] - begin;
    const int64_t listed = n_pages == 0 ? 0 : (n_pages - 1) * kv.page_tokens + kv.last_page_tokens[row];
    const bool skips = n_pages > 0 && kv.first_page_skip != nullptr && kv.first_page_skip[row] > 0;
    // Increasing positions without overlap have no gap where the last page lies at its place.
    if (skips || listed < n_tokens || kv.page_positions[begin + n_pages - 1] != (n_pages - 1) * kv.page_tokens) {
      return Wrong("row " + std::to_string(row) + " does not list all of " + std::to_string(n_tokens) + " tokens");
    }
  }
  return OkStatus();
}

}  // namespace

Status WindowScores(const OpContext& ctx, const WindowScoresArgs& args) {
  const PagedKv& kv = args.kv;
  ARKVALE_RETURN_IF_ERROR(CheckScoredKeys("window_scores", kv, args.q_heads_per_kv_head, args.scale, args.softcap));
  ARKVALE_RETURN_IF_ERROR(CheckPagePositions("window_scores", kv));
  const int64_t n_q_heads = int64_t{kv.n_rows} * kv.heads_per_row * args.q_heads_per_kv_head;
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("window_scores: q", args.q, args.q.rows, n_q_heads * kv.head_dim_k));
  if (args.q.rows < 0 || args.n_tokens <= args.q.rows) {
    return Wrong(std::to_string(args.n_tokens) + " tokens, must be more than the window of " +
                 std::to_string(args.q.rows));
  }
  if (args.kernel < 1 || args.kernel % 2 == 0) {
    return Wrong("pooling kernel " + std::to_string(args.kernel) + ", must be odd and >= 1");
  }
  if (n_q_heads == 0) return OkStatus();
  ARKVALE_RETURN_IF_ERROR(CheckComplete(kv, args.n_tokens));
  if (args.scores == nullptr) return Wrong("null scores");
  return ctx.ops->window_scores(ctx, args);
}

}  // namespace arkvale
