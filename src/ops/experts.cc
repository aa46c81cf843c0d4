#include "ops/experts.h"

#include <string>

#include "ops/arg_check.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

Status CheckRows(const char* who, std::span<const int64_t> rows, int64_t n_rows) {
  for (const int64_t row : rows) {
    if (row < 0 || row >= n_rows) {
      return InvalidArgument(std::string(who) + ": row " + std::to_string(row) + " of " + std::to_string(n_rows));
    }
  }
  return OkStatus();
}

}  // namespace

Status RouteExperts(const OpContext& ctx, const MatrixView& logits, int64_t k, std::span<int32_t> ids,
                    std::span<float> weights) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("route_experts: logits", logits));
  if (k < 1 || k > logits.cols) {
    return InvalidArgument("route_experts: " + std::to_string(k) + " of " + std::to_string(logits.cols) + " experts");
  }
  const auto size = static_cast<size_t>(logits.rows * k);
  if (ids.size() != size || weights.size() != size) {
    return InvalidArgument("route_experts: room for " + std::to_string(ids.size()) + " ids and " +
                           std::to_string(weights.size()) + " weights, expected " + std::to_string(size));
  }
  return ctx.ops->route_experts(ctx, logits, k, ids, weights);
}

Status GatherRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows, const MatrixView& out) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("gather_rows: x", x));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("gather_rows: out", out, static_cast<int64_t>(rows.size()), x.cols));
  ARKVALE_RETURN_IF_ERROR(CheckRows("gather_rows", rows, x.rows));
  return ctx.ops->gather_rows(ctx, x, rows, out);
}

Status ScatterAddRows(const OpContext& ctx, const MatrixView& x, std::span<const int64_t> rows,
                      std::span<const float> weights, const MatrixView& out) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("scatter_add_rows: out", out));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("scatter_add_rows: x", x, static_cast<int64_t>(rows.size()), out.cols));
  if (weights.size() != rows.size()) {
    return InvalidArgument("scatter_add_rows: " + std::to_string(weights.size()) + " weights for " +
                           std::to_string(rows.size()) + " rows");
  }
  ARKVALE_RETURN_IF_ERROR(CheckRows("scatter_add_rows", rows, out.rows));
  return ctx.ops->scatter_add_rows(ctx, x, rows, weights, out);
}

}  // namespace arkvale
