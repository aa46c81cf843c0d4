// Gated linear unit: out = act(gate) * up.
#pragma once

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"

namespace arkvale {

enum class GluKind {
  kSilu,  // x * sigmoid(x)
  kGelu,  // tanh approximation: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
};

// gate, up, out: [n, d]; out may be gate or up.
Status Glu(const OpContext& ctx, GluKind kind, const MatrixView& gate, const MatrixView& up, const MatrixView& out);

}  // namespace arkvale
