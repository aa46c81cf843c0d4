// Quantiles as every report of the project computes them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace arkvale {

// Linear interpolation at position f * (n - 1) of the sorted values, f in [0, 1]; 0 for no values.
inline double Quantile(std::span<const double> values, double f) {
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double position = f * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(position);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (position - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

inline double Median(std::span<const double> values) { return Quantile(values, 0.5); }

}  // namespace arkvale
