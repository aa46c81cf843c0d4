// Conversion of dense rows between f32 and f16 (round to nearest even).
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace arkvale {

void ConvertF32ToF16(const float* src, f16_t* dst, int64_t n);

}  // namespace arkvale
