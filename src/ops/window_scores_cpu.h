// Parts of the CPU's WindowScores that tests call on their own.
#pragma once

#include <cstdint>

#include "ops/window_scores.h"

namespace arkvale::cpu {

// pooled[j] += pool_j(u) for j in [0, n), u >= 0. Reads u[-(kernel-1)/2] .. u[n-1 + (kernel-1)/2], which must be 0
// outside the prompt.
void AddPooled(const float* u, int64_t n, int32_t kernel, Pooling pooling, float* pooled);

}  // namespace arkvale::cpu
