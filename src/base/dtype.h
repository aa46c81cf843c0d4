// Element types of dense tensors (KV, activations, digests). Quantised weights are typed by ops/matmul.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/host_device.h"

namespace arkvale {

// kQ8 is ggml's q8_0 with the scales behind the values: a row of n elements (a multiple of kQ8Block) is int8[n], then
// f16[n / kQ8Block] scales; element i is value[i] * scale[i / kQ8Block]. Rows may lie at any byte.
enum class DType : uint8_t { kF32, kF16, kI32, kQ8 };

inline constexpr int64_t kQ8Block = 32;
inline constexpr int64_t kQ8MaxRow = 4096;  // longest row that kernels take

// Of one element; kQ8 has none of its own: DTypeRowBytes.
constexpr size_t DTypeBytes(DType t) { return t == DType::kF16 ? 2 : 4; }

// Of `n` consecutive elements that make a row.
ARKVALE_HOST_DEVICE constexpr int64_t DTypeRowBytes(DType t, int64_t n) {
  return t == DType::kQ8 ? n + n / 16 : n * (t == DType::kF16 ? 2 : 4);
}

constexpr std::string_view DTypeName(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kI32: return "i32";
    case DType::kQ8: return "q8_0";
  }
  return "?";
}

// IEEE binary16 as stored. Conversion: f16.h of this room.
using f16_t = uint16_t;

// A byte of a kQ8 row; `const q8_t*` is where a row begins.
struct q8_t {
  int8_t byte;
};

// Elements of T from one row of `n` values to the next.
template <typename T>
ARKVALE_HOST_DEVICE constexpr int64_t RowStride(int64_t n) {
  return n;
}
template <>
ARKVALE_HOST_DEVICE constexpr int64_t RowStride<q8_t>(int64_t n) {
  return DTypeRowBytes(DType::kQ8, n);
}

}  // namespace arkvale
