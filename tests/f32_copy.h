// F32Copy: a model file with every tensor dequantised to f32, so that two engines can be compared without the noise of
// their different quantised dot products.
#pragma once

#include <string>

#include "arkvale/status.h"

namespace arkvale::testing {

// The path of the copy, made once per model file in ${ARKVALE_CACHE:-$HOME/.cache/arkvale}/f32 (a process that finds it
// half made sees nothing: it appears by rename). NotFound, Corrupt; ResourceExhausted when it cannot be written.
Result<std::string> F32Copy(const std::string& model_path);

}  // namespace arkvale::testing
