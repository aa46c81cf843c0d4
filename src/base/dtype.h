// Element types of dense tensors (KV, activations, digests). Quantised weights are typed by ops/matmul.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/host_device.h"

namespace arkvale {

// kQ8 and kQ4 are ggml's q8_0 and q4_0 with the scales behind the codes: a row of n elements (a multiple of
// kQuantBlock) is their codes, then f16[n / kQuantBlock] scales. Rows may lie at any byte.
//   kQ8: int8[n]; element i is code[i] * scale[i / kQuantBlock]
//   kQ4: uint8[n / 2], 16 bytes per block: element i of a block has the low half of byte i, element i + 16 the high
//   half;
//        it is (code - 8) * scale
enum class DType : uint8_t { kF32, kF16, kI32, kQ8, kQ4 };

inline constexpr int64_t kQuantBlock = 32;
inline constexpr int64_t kQuantMaxRow = 4096;  // longest quantised row that kernels take

constexpr bool IsQuantised(DType t) { return t == DType::kQ8 || t == DType::kQ4; }

// IEEE binary16 as stored. Conversion: f16.h of this room.
using f16_t = uint16_t;

// A byte of a kQ8 or kQ4 row; `const q8_t*` is where a row begins.
struct q8_t {
  static constexpr int64_t kBits = 8;  // per code
  int8_t byte;
};
struct q4_t {
  static constexpr int64_t kBits = 4;
  uint8_t byte;
};

template <typename T>
concept QuantisedRow = requires {
  T::kBits;
};

// Of the codes of a row of n elements.
template <QuantisedRow T>
ARKVALE_HOST_DEVICE constexpr int64_t CodeBytes(int64_t n) {
  return n * T::kBits / 8;
}

// Elements of T from one row of `n` values to the next.
template <typename T>
ARKVALE_HOST_DEVICE constexpr int64_t RowStride(int64_t n) {
  return n;
}
template <QuantisedRow T>
ARKVALE_HOST_DEVICE constexpr int64_t RowStride(int64_t n) {
  return CodeBytes<T>(n) + n / kQuantBlock * static_cast<int64_t>(sizeof(f16_t));
}

// Of one element; quantised types have none of their own: DTypeRowBytes.
constexpr size_t DTypeBytes(DType t) { return t == DType::kF16 ? 2 : 4; }

// Of `n` consecutive elements that make a row.
ARKVALE_HOST_DEVICE constexpr int64_t DTypeRowBytes(DType t, int64_t n) {
  if (t == DType::kQ8) return RowStride<q8_t>(n);
  if (t == DType::kQ4) return RowStride<q4_t>(n);
  return n * (t == DType::kF16 ? 2 : 4);
}

constexpr std::string_view DTypeName(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kI32: return "i32";
    case DType::kQ8: return "q8_0";
    case DType::kQ4: return "q4_0";
  }
  return "?";
}

}  // namespace arkvale
