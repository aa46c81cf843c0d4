// TensorView: a borrowed, typed, strided window on memory that somebody else owns.
#pragma once

#include <array>
#include <cstdint>

#include "base/check.h"
#include "base/dtype.h"

namespace arkvale {

// Row-major by default. `strides` count elements. The view never frees and never outlives its owner.
struct TensorView {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> strides{};

  float* f32() const {
    ARKVALE_CHECK(dtype == DType::kF32);
    return static_cast<float*>(data);
  }
};

// A dense f32 matrix [rows, cols] with a row stride in elements: what activations are.
struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t i) const { return data + i * stride; }
};

}  // namespace arkvale
