// What the parts of the forward pass share: activations that keep their memory, and matmuls over the rows of a batch.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "model/batch_plan.h"
#include "model/weights.h"
#include "ops/context.h"
#include "ops/matmul.h"

namespace arkvale {

// Memory of one activation, grown to its high-water mark and reused.
class Activation {
 public:
  void Reserve(int64_t rows, int64_t cols) {
    cols_ = cols;
    if (static_cast<size_t>(rows * cols) > memory_.size()) memory_.resize(static_cast<size_t>(rows * cols));
  }
  // The first `rows` rows, [rows, cols].
  MatrixView Rows(int64_t rows) { return {memory_.data(), rows, cols_, cols_}; }
  // The same memory as one row per head, [rows * heads, cols / heads].
  MatrixView Heads(int64_t rows, int64_t heads) { return {memory_.data(), rows * heads, cols_ / heads, cols_ / heads}; }

 private:
  std::vector<float> memory_;
  int64_t cols_ = 0;
};

inline MatmulTarget Target(const Linear& w, const MatrixView& out, bool add = false) {
  return {w.weight, out, add, w.bias};
}

// Every target (up to 3) = x W^T + bias, each span of rows on its path.
Status Project(const OpContext& ctx, const RowSet& rows, const MatrixView& x,
               std::initializer_list<MatmulTarget> targets);

}  // namespace arkvale
