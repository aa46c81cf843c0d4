// What a synthetic model's maker hands to its writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace arkvale {

struct SyntheticTensor {
  std::string name;
  std::vector<int64_t> shape;  // fastest dimension first
  int32_t ggml_type = 0;
  // Writes rows [first, first + n) in ggml_type to `out`.
  std::function<void(int64_t first, int64_t n, std::byte* out)> fill;

  int64_t n_rows() const {
    int64_t n = 1;
    for (size_t d = 1; d < shape.size(); ++d) n *= shape[d];
    return n;
  }
};

}  // namespace arkvale
