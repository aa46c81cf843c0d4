// What the planner's tests share.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace arkvale::test {

// v of the worked examples (algorithms 10.3, 10.4): three layers of two kv heads, four tokens before the window.
inline const std::vector<float> kThreeLayers[3] = {
    {5, 5, 5, 5, 6, 4, 6, 4}, {14, 2, 2, 2, 2, 2, 12, 4}, {16, 12, 8, 4, 4, 8, 12, 16}};

// As uneven as attention: most are tiny, some are equal.
inline std::vector<float> RandomScores(Rng& rng, int64_t n) {
  std::vector<float> scores(static_cast<size_t>(n));
  for (float& v : scores) v = std::exp(static_cast<float>(rng.Below(64)) * -0.25f);
  return scores;
}

}  // namespace arkvale::test
