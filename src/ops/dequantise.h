// Dequantise: GGUF element types seen from kernels that need f32. Keeps ggml's headers out of their files.
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/status.h"
#include "ops/weight.h"

namespace arkvale {

// True when ggml knows the type and can turn it into f32.
bool CanDequantise(int32_t ggml_type);

// Elements per block (1 for plain floats) and bytes per row of `cols` elements, cols a multiple of the block.
int64_t BlockElements(int32_t ggml_type);
int64_t TypeRowBytes(int32_t ggml_type, int64_t cols);
std::string TypeName(int32_t ggml_type);

// dst[0..n) = f32 of the elements at src, which starts at a block border; n a multiple of the block.
void Dequantise(int32_t ggml_type, const void* src, float* dst, int64_t n);

// Ok when the view has data, a type that can be dequantised, whole blocks and rows that do not overlap; where it is
// packed, a type that can be, and the row_bytes of that layout.
Status CheckWeight(const WeightView& weight);

}  // namespace arkvale
