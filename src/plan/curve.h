// From what a layer loses at a few sizes to gains of single units: for measures that are too dear to take at every
// size. Pure functions: any thread may call them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

struct LossPoint {
  int64_t units = 0;
  double loss = 0;  // anything that adds up over layers, >= 0 but for noise
};

// Gains of units 1 .. most_units, non-increasing as AllocateTotal wants them: slopes of the lower convex hull of a
// curve through the points. Between two of them it is a power law, loss = a * units^-b, as losses of budgets nearly are
// (a line where one loss is 0); behind the last it is a line to (most_units, 0), where nothing is left out. Up to the
// smallest measured size the gains are those behind it: a plan's minimum should be no less. Negative losses count 0,
// and one that is larger than at a smaller size counts as that.
// InvalidArgument: no point below most_units, sizes that do not ascend or are < 1, a loss that is not finite.
Result<std::vector<float>> CurveGains(std::span<const LossPoint> points, int64_t most_units);

}  // namespace arkvale
