#include "ops/matmul.h"

#include <functional>
#include <string>

#include "ops/arg_check.h"
#include "ops/dequantise.h"
#include "ops/matmul_cpu.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

// True when the two share an element. Column slices of one wider matrix do not, though their ranges interleave.
bool Overlap(const MatrixView& a, const MatrixView& b) {
  const auto end = [](const MatrixView& m) { return m.data + (m.rows - 1) * m.stride + m.cols; };
  if (a.rows == 0 || b.rows == 0) return false;
  const std::less<const float*> before;
  if (!before(a.data, end(b)) || !before(b.data, end(a))) return false;
  if (a.stride != b.stride || a.stride <= 0) return true;
  const int64_t shift = (((b.data - a.data) % a.stride) + a.stride) % a.stride;
  return !(shift >= a.cols && shift + b.cols <= a.stride);
}

Status CheckTarget(const MatrixView& x, const MatmulTarget& target) {
  const WeightView& weight = target.weight;
  if (!MatmulSupports(weight.ggml_type)) {
    return InvalidArgument("no kernel for weights of " + TypeName(weight.ggml_type));
  }
  ARKVALE_RETURN_IF_ERROR(CheckWeight(weight));
  if (weight.cols != x.cols) {
    return InvalidArgument("weight has " + std::to_string(weight.cols) + " inputs, x has " + std::to_string(x.cols) +
                           " columns");
  }
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("out", target.out, x.rows, weight.rows));
  if (Overlap(x, target.out)) return InvalidArgument("out overlaps x");
  return OkStatus();
}

}  // namespace

bool MatmulSupports(int32_t ggml_type) { return cpu::MatmulSupports(ggml_type); }

Status Matmul(const OpContext& ctx, MatmulPath path, const MatrixView& x, std::span<const MatmulTarget> targets) {
  ARKVALE_RETURN_IF_ERROR(CheckMatrix("matmul: x", x));
  for (size_t i = 0; i < targets.size(); ++i) {
    const Status status = CheckTarget(x, targets[i]);
    if (!status.ok()) return InvalidArgument("matmul: target " + std::to_string(i) + ": " + status.message());
  }
  if (x.rows == 0 || targets.empty()) return OkStatus();
  return ctx.ops->matmul(ctx, path, x, targets);
}

}  // namespace arkvale
