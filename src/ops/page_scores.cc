#include "ops/page_scores.h"

#include <cmath>
#include <string>

#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {

Status PageScores(const OpContext& ctx, const PageScoresArgs& args) {
  PagedKv keys = args.kv;
  keys.v_base = keys.k_base;  // V is not read
  keys.head_dim_v = keys.head_dim_k;
  ARKVALE_RETURN_IF_ERROR(CheckPagedKv("page_scores", keys));
  if (args.q_heads_per_kv_head < 1) {
    return InvalidArgument("page_scores: " + std::to_string(args.q_heads_per_kv_head) +
                           " query heads per kv head, must be >= 1");
  }
  if (!(args.softcap >= 0) || !std::isfinite(args.softcap) || !std::isfinite(args.scale)) {
    return InvalidArgument("page_scores: scale " + std::to_string(args.scale) + ", softcap " +
                           std::to_string(args.softcap) + ": must be numbers, the softcap >= 0 (0 means none)");
  }
  if (args.kv.n_rows == 0) return OkStatus();
  if (args.q == nullptr) return InvalidArgument("page_scores: null q");
  for (int32_t row = 0; row < args.kv.n_rows; ++row) {
    if (args.q[row] == nullptr) return InvalidArgument("page_scores: row " + std::to_string(row) + ": null q");
  }
  return ctx.ops->page_scores(ctx, args);
}

}  // namespace arkvale
