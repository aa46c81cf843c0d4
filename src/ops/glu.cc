#include "ops/glu.h"

#include "ops/arg_check.h"
#include "ops/op_table.h"

namespace arkvale {

Status Glu(const OpContext& ctx, GluKind kind, const MatrixView& gate, const MatrixView& up, const MatrixView& out) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("glu: gate", gate));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("glu: up", up, gate.rows, gate.cols));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("glu: out", out, gate.rows, gate.cols));
  return ctx.ops->glu(ctx, kind, gate, up, out);
}

}  // namespace arkvale
