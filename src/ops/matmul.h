// Matmul: y = x W^T (+ bias) for f32 activations and weights of any GGUF type.
#pragma once

#include <span>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"
#include "ops/weight.h"

namespace arkvale {

// The path is chosen by phase, never by the number of rows, so that a row's bits never depend on its neighbours.
enum class MatmulPath {
  kTiles,  // prefill: weights dequantised to f32 tile by tile, f32 products accumulated in order of the input index
  kRows,   // step: x rounded to 16 bits per 32 columns for packed weights, else as ggml does for its dot products
};

struct MatmulTarget {
  WeightView weight;            // [out, in]
  MatrixView out;               // [n, out]; must not overlap x
  bool add = false;             // add to `out` instead of overwriting it (residual connections)
  const float* bias = nullptr;  // [out], added to the products, or null
};

// x: [n, in]. Every target reads the same x; they run as one parallel loop (q, k and v; gate and up).
// Errors: InvalidArgument where shapes disagree or a weight type has no kernel.
Status Matmul(const OpContext& ctx, MatmulPath path, const MatrixView& x, std::span<const MatmulTarget> targets);

// True when both paths can run weights of this ggml type.
bool MatmulSupports(int32_t ggml_type);

}  // namespace arkvale
