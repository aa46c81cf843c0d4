#include "ops/paged_attention.h"

#include <cmath>
#include <string>

#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {

Status PagedAttention(const OpContext& ctx, const PagedAttentionArgs& args) {
  ARKVALE_RETURN_IF_ERROR(CheckPagedKv("paged_attention", args.kv));
  if (args.q_heads_per_kv_head < 1) {
    return InvalidArgument("paged_attention: " + std::to_string(args.q_heads_per_kv_head) +
                           " query heads per kv head, must be >= 1");
  }
  if (!(args.softcap >= 0.0f) || !std::isfinite(args.softcap)) {
    return InvalidArgument("paged_attention: softcap " + std::to_string(args.softcap) +
                           ", must be a number >= 0 (0 means none)");
  }
  if (args.kv.n_rows == 0) return OkStatus();
  if (args.q == nullptr || args.out == nullptr) return InvalidArgument("paged_attention: null q or out");
  for (int32_t row = 0; row < args.kv.n_rows; ++row) {
    if (args.q[row] == nullptr || args.out[row] == nullptr) {
      return InvalidArgument("paged_attention: row " + std::to_string(row) + ": null q or out");
    }
  }
  return ctx.ops->paged_attention(ctx, args);
}

}  // namespace arkvale
