// Plans of several samples to one (algorithms 7.4). Exact integer arithmetic.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

// How many of n_tasks > 0 tasks are measured: max(1, ceil(fraction * n_tasks - 1e-9)), 0 < fraction <= 1.
Result<int64_t> SampleCount(double fraction, int64_t n_tasks);

// plans: units per layer, >= 0, as many layers in each. Both are the mean per layer; InvalidArgument where there is no
// plan, or their layers differ.

// Of plans for a total: rounded down, then what is missing to it goes to the layers of the largest fractional parts one
// by one, equal ones to the smaller layer. Where all plans have the same sum, so has the mean; else the sum is the mean
// of the sums, rounded down.
Result<std::vector<int64_t>> MeanOfTotalPlans(std::span<const std::vector<int64_t>> plans);

// Of plans for a retention: rounded to the nearest, halves to even.
Result<std::vector<int64_t>> MeanOfRetentionPlans(std::span<const std::vector<int64_t>> plans);

}  // namespace arkvale
