// Statistics of the evaluation protocol (section 0.6). Quantiles: base/quantile.h.
#pragma once

#include <cstdint>
#include <span>

namespace arkvale::tools {

// A 95 % interval.
struct Interval {
  double lo = 0;
  double hi = 0;
};

// 0 for no values.
double Mean(std::span<const double> values);

// Wilson's interval of a share of `hits` in `n`; [0, 1] for n = 0.
Interval Wilson(int64_t hits, int64_t n);

// Percentile bootstrap of the mean over `values` (one per independent unit: a record, a window): 1000 resamples drawn
// by Rng "bootstrap/42/0/0". {0, 0} for no values.
Interval BootstrapMean(std::span<const double> values);

}  // namespace arkvale::tools
