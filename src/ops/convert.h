// Conversion of rows of f32 to the types that the KV cache keeps. The bits of a row depend on that row only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace arkvale {

// Rounds to nearest even.
void ConvertF32ToF16(const float* src, f16_t* dst, int64_t n);

// A row of DType::kQ8, n a multiple of kQuantBlock. Per block, as in ggml's q8_0: d = max |x| / 127 kept in f16, codes
// x / d (the unrounded d) rounded to nearest even. A block that holds a NaN or an infinity reads as NaN throughout.
void ConvertF32ToQ8(const float* src, q8_t* dst, int64_t n);

// A row of DType::kQ4, likewise, as in ggml's q4_0: d = (the x of largest magnitude, the first of several) / -8, codes
// min(15, floor(x / d + 8.5)).
void ConvertF32ToQ4(const float* src, q4_t* dst, int64_t n);

// One of the above: `type` is kF16, kQ8 or kQ4, dst has DTypeRowBytes(type, n) bytes.
void ConvertRow(DType type, const float* src, std::byte* dst, int64_t n);

}  // namespace arkvale
