// Element types of dense tensors (KV, activations, digests). Quantised weights are typed by ops/matmul.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace arkvale {

enum class DType : uint8_t { kF32, kF16, kI32 };

constexpr size_t DTypeBytes(DType t) { return t == DType::kF16 ? 2 : 4; }

constexpr std::string_view DTypeName(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kI32: return "i32";
  }
  return "?";
}

// IEEE binary16 as stored. Conversion: f16.h of this room.
using f16_t = uint16_t;

}  // namespace arkvale
