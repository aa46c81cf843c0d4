#include "ops/attention_mass.h"

#include <algorithm>
#include <string>

#include "ops/arg_check.h"
#include "ops/op_table.h"
#include "ops/paged_kv_check.h"

namespace arkvale {
namespace {

// One past the last position that a row lists.
int64_t EndPosition(const PagedKv& kv, int32_t row) {
  const int64_t end = kv.page_begin[row + 1];
  return end == kv.page_begin[row] ? 0 : kv.page_positions[end - 1] + kv.last_page_tokens[row];
}

}  // namespace

Status AttentionMass(const OpContext& ctx, const AttentionMassArgs& args) {
  const PagedKv& kv = args.kv;
  ARKVALE_RETURN_IF_ERROR(CheckScoredKeys("attention_mass", kv, args.q_heads_per_kv_head, args.scale, args.softcap));
  ARKVALE_RETURN_IF_ERROR(CheckPagePositions("attention_mass", kv));
  if (args.q_position0 < 0) {
    return InvalidArgument("attention_mass: first position " + std::to_string(args.q_position0) + " < 0");
  }
  if (args.q.rows < 0) return InvalidArgument("attention_mass: " + std::to_string(args.q.rows) + " queries");
  const int64_t n_q_heads = int64_t{kv.n_rows} * kv.heads_per_row * args.q_heads_per_kv_head;
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("attention_mass: q", args.q, args.q.rows, n_q_heads * kv.head_dim_k));
  int64_t end = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) end = std::max(end, EndPosition(kv, row));
  if (args.q.rows == 0 || end == 0) return OkStatus();
  if (args.lse == nullptr || args.mass == nullptr) return InvalidArgument("attention_mass: null lse or mass");
  if (args.mass_stride < end) {
    return InvalidArgument("attention_mass: mass of " + std::to_string(args.mass_stride) +
                           " positions per kv head, but the lists end at " + std::to_string(end));
  }
  return ctx.ops->attention_mass(ctx, args);
}

}  // namespace arkvale
