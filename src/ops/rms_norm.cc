#include "ops/rms_norm.h"

#include "ops/arg_check.h"
#include "ops/op_table.h"

namespace arkvale {

Status RmsNorm(const OpContext& ctx, const MatrixView& x, const float* weight, float eps, const MatrixView& out,
               bool add) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("rms_norm: x", x));
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("rms_norm: out", out, x.rows, x.cols));
  if (weight == nullptr) return InvalidArgument("rms_norm: weight is null");
  if (!(eps >= 0.0f)) return InvalidArgument("rms_norm: eps " + std::to_string(eps) + " is not >= 0");
  return ctx.ops->rms_norm(ctx, x, weight, eps, out, add);
}

}  // namespace arkvale
