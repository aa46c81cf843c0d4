#include "ops/embed.h"

#include <string>

#include "ops/arg_check.h"
#include "ops/dequantise.h"
#include "ops/op_table.h"

namespace arkvale {

Status Embed(const OpContext& ctx, const WeightView& table, std::span<const int32_t> ids, float scale,
             const MatrixView& out) {
  const Status status = CheckWeight(table);
  if (!status.ok()) return InvalidArgument("embed: " + status.message());
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("embed: out", out, static_cast<int64_t>(ids.size()), table.cols));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= table.rows) {
      return InvalidArgument("embed: token id " + std::to_string(ids[i]) + " at " + std::to_string(i) +
                             " is outside the vocabulary of " + std::to_string(table.rows));
    }
  }
  return ctx.ops->embed(ctx, table, ids, scale, out);
}

}  // namespace arkvale
