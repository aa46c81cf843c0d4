#include "ops/page_scores.h"

#include <string>

#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {

Status PageScores(const OpContext& ctx, const PageScoresArgs& args) {
  ARKVALE_RETURN_IF_ERROR(CheckScoredKeys("page_scores", args.kv, args.q_heads_per_kv_head, args.scale, args.softcap));
  if (args.kv.n_rows == 0) return OkStatus();
  if (args.q == nullptr) return InvalidArgument("page_scores: null q");
  for (int32_t row = 0; row < args.kv.n_rows; ++row) {
    if (args.q[row] == nullptr) return InvalidArgument("page_scores: row " + std::to_string(row) + ": null q");
  }
  return ctx.ops->page_scores(ctx, args);
}

}  // namespace arkvale
