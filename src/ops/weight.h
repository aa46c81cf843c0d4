// WeightView: a borrowed weight matrix in any GGUF element type.
#pragma once

#include <cstdint>

namespace arkvale {

// Row-major [rows, cols]: `rows` output features of `cols` inputs each. Rows are `row_bytes` apart and quantised in
// blocks along cols as ggml lays them out. `ggml_type` is the value of ggml's enum, which is also GGUF's on disk.
struct WeightView {
  const void* data = nullptr;
  int32_t ggml_type = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_bytes = 0;

  bool empty() const { return data == nullptr; }
};

}  // namespace arkvale
