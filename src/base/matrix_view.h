// MatrixView: a borrowed window on a matrix that somebody else owns. It never frees and never outlives its owner.
#pragma once

#include <cstdint>

namespace arkvale {

// A f32 matrix [rows, cols] whose rows are `stride` elements apart: what activations are.
struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t i) const { return data + i * stride; }
};

}  // namespace arkvale
