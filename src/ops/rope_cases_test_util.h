// Parameters of RopeAngles and shapes of Rope that their tests compare with the reference and their benchmark times.
#pragma once

#include <cstdint>

#include "ops/rope.h"

namespace arkvale::test {

inline constexpr float kRopeFactors[] = {1.0f, 2.5f, 8.0f, 8.0f};

// Of RopeAngles.
inline constexpr RopeParams kRopeParams[] = {
    {.n_rot = 8},
    {.n_rot = 64, .freq_base = 1e6f},
    {.n_rot = 8, .freq_scale = 0.125f, .freq_factors = kRopeFactors},
    {.n_rot = 64, .freq_scale = 0.25f, .yarn = true, .ramp_low = 9, .ramp_high = 25, .magnitude = 1.14f},
    {.n_rot = 8,
     .freq_scale = 0.25f,
     .freq_factors = kRopeFactors,
     .yarn = true,
     .ramp_low = 2,
     .ramp_high = 2,
     .magnitude = 0.5f},
};

// Of Rope: `n` rows.
struct RopeCase {
  int64_t n, heads;
  int n_rot, head_dim;
};

inline constexpr RopeCase kRopeCases[] = {
    {0, 1, 4, 4}, {1, 1, 2, 2}, {1, 3, 64, 64}, {2, 3, 6, 10}, {5, 2, 34, 40}, {90, 4, 256, 256}, {3, 1, 80, 128},
};

}  // namespace arkvale::test
