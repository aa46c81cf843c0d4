// How much filler a record of T tokens has room for (evaluation protocol 1).
#pragma once

#include <cstdint>
#include <functional>

#include "arkvale/status.h"

namespace arkvale::tools {

// Bisection for the largest size in [lo, hi] of at most `limit_tokens`. `lo` is not counted: look at it before. Fails
// where counting does.
Result<int64_t> LargestSizeThatFits(int64_t lo, int64_t hi, int64_t limit_tokens,
                                    const std::function<Result<int64_t>(int64_t size)>& n_tokens);

}  // namespace arkvale::tools
