#include "tools/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/quantile.h"
#include "base/rng.h"

namespace arkvale::tools {

double Mean(std::span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Interval Wilson(int64_t hits, int64_t n) {
  if (n == 0) return {.lo = 0, .hi = 1};
  constexpr double kZ = 1.96;
  const auto x = static_cast<double>(hits), total = static_cast<double>(n);
  const double centre = (x + kZ * kZ / 2) / (total + kZ * kZ);
  const double half = kZ / (total + kZ * kZ) * std::sqrt(x * (total - x) / total + kZ * kZ / 4);
  return {.lo = std::max(0.0, centre - half), .hi = std::min(1.0, centre + half)};
}

Interval BootstrapMean(std::span<const double> values) {
  if (values.empty()) return {};
  constexpr size_t kResamples = 1000;
  Rng rng("bootstrap/42/0/0");
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    for (size_t i = 0; i < values.size(); ++i) mean += values[rng.Below(values.size())];
    mean /= static_cast<double>(values.size());
  }
  return {.lo = Quantile(means, 0.025), .hi = Quantile(means, 0.975)};
}

}  // namespace arkvale::tools
