// RmsNorm: y = x / sqrt(mean(x^2) + eps) * weight, per row.
#pragma once

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"

namespace arkvale {

// x, out: [n, d], may be the same memory. weight: [d] f32. The sum of squares accumulates in f32 lanes in a fixed
// order. `add`: add the result to `out` instead of overwriting it (post-norms before a residual connection).
Status RmsNorm(const OpContext& ctx, const MatrixView& x, const float* weight, float eps, const MatrixView& out,
               bool add = false);

}  // namespace arkvale
