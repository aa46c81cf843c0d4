// Naive twins of the linear ops in double precision: what tests compare every device with. Row-major results.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/matrix_view.h"
#include "ops/glu.h"
#include "ops/rope.h"
#include "ops/weight.h"

namespace arkvale::reference {

struct MatmulResult {
  std::vector<double> y;  // [x.rows, w.rows] = x W^T + bias
  std::vector<double>
      magnitude;  // same shape: sum over the inputs of |x w|, and |bias|, from which error bounds follow
};

// Rows of a weight as doubles, [rows, cols].
std::vector<double> Dequantised(const WeightView& w);

MatmulResult Matmul(const MatrixView& x, const WeightView& w, const float* bias = nullptr);
std::vector<double> Embed(const WeightView& table, std::span<const int32_t> ids, double scale);
std::vector<double> RmsNorm(const MatrixView& x, const float* weight, double eps);
std::vector<double> RopeAngles(const RopeParams& params, std::span<const int64_t> positions);
std::vector<double> Rope(RopeKind kind, int n_rot, int head_dim, const MatrixView& angles, const MatrixView& x);
// The k best experts of one row of logits, best first, with their renormalised softmax probabilities.
std::vector<std::pair<int32_t, double>> RouteExperts(std::span<const float> logits, int64_t k);
std::vector<double> Glu(GluKind kind, const MatrixView& gate, const MatrixView& up);

}  // namespace arkvale::reference
