// WeightView: a borrowed weight matrix in any GGUF element type.
#pragma once

#include <cstddef>
#include <cstdint>

namespace arkvale {

inline constexpr int64_t kPackedRows = 16;

// Row-major [rows, cols]: `rows` output features of `cols` inputs each. Rows are `row_bytes` apart and quantised in
// blocks along cols as ggml lays them out. `ggml_type` is the value of ggml's enum, which is also GGUF's on disk.
// A packed view holds groups of kPackedRows rows (packed_weight.h); row_bytes is then the sixteenth part of a group.
struct WeightView {
  const void* data = nullptr;
  int32_t ggml_type = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_bytes = 0;
  bool packed = false;

  bool empty() const { return data == nullptr; }
};

// Rows [begin, begin + n) of `w`, the same memory. Of a packed view `begin` must be a multiple of kPackedRows.
inline WeightView RowSlice(const WeightView& w, int64_t begin, int64_t n) {
  return {static_cast<const std::byte*>(w.data) + begin * w.row_bytes, w.ggml_type, n, w.cols, w.row_bytes, w.packed};
}

}  // namespace arkvale
