// How many f32 operations a core can do: the yardstick of benchmarks.
#pragma once

#include <cstdint>

namespace arkvale {

// `loops` rounds of fused multiply-adds on vectors that stay in registers, enough of them at once to hide their
// latency, with the best instruction set that kernels use. Returns the operations done, an FMA of one lane counted as
// two. Any thread.
double RunFmas(int64_t loops);

}  // namespace arkvale
