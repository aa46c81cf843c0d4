#include "ops/rope.h"

#include <cmath>
#include <string>

#include "ops/arg_check.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

Status CheckRotated(int n_rot) {
  if (n_rot > 0 && n_rot % 2 == 0) return OkStatus();
  return InvalidArgument("rope: n_rot " + std::to_string(n_rot) + " is not a positive even number");
}

}  // namespace

Status RopeAngles(const OpContext& ctx, const RopeParams& params, std::span<const int64_t> positions,
                  const MatrixView& out) {
  ARKVALE_RETURN_IF_ERROR(CheckRotated(params.n_rot));
  if (!(params.freq_base > 0.0f) || !std::isfinite(params.freq_base)) {
    return InvalidArgument("rope: freq_base " + std::to_string(params.freq_base) + " is not a positive number");
  }
  for (const float number : {params.freq_scale, params.ramp_low, params.ramp_high, params.magnitude}) {
    if (!std::isfinite(number)) return InvalidArgument("rope: freq_scale, ramp or magnitude is not finite");
  }
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("rope: angles", out, static_cast<int64_t>(positions.size()), params.n_rot));
  return ctx.ops->rope_angles(ctx, params, positions, out);
}

Status Rope(const OpContext& ctx, RopeKind kind, int n_rot, int head_dim, const MatrixView& angles,
            const MatrixView& x) {
  ARKVALE_RETURN_IF_ERROR(CheckRotated(n_rot));
  if (head_dim < n_rot) {
    return InvalidArgument("rope: n_rot " + std::to_string(n_rot) + " > head_dim " + std::to_string(head_dim));
  }
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("rope: x", x));
  if (x.cols % head_dim != 0) {
    return InvalidArgument("rope: x has " + std::to_string(x.cols) + " columns, not a multiple of head_dim " +
                           std::to_string(head_dim));
  }
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("rope: angles", angles, x.rows, n_rot));
  return ctx.ops->rope(ctx, kind, n_rot, head_dim, angles, x);
}

}  // namespace arkvale
