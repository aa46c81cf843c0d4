#include "plan/average.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

namespace arkvale {
namespace {

// Sums of the plans per layer.
Result<std::vector<int64_t>> SumPlans(std::span<const std::vector<int64_t>> plans) {
  if (plans.empty()) return InvalidArgument("no plan to average: no sample was longer than the window");
  std::vector<int64_t> sums(plans.front().size(), 0);
  const int64_t most = std::numeric_limits<int64_t>::max() / 2 / static_cast<int64_t>(plans.size());
  for (const std::vector<int64_t>& plan : plans) {
    if (plan.size() != sums.size()) {
      return InvalidArgument("plans of " + std::to_string(plan.size()) + " and " + std::to_string(sums.size()) +
                             " layers: average plans of one model");
    }
    for (size_t l = 0; l < sums.size(); ++l) {
      if (plan[l] < 0 || plan[l] > most) {
        return InvalidArgument("layer " + std::to_string(l) + " has " + std::to_string(plan[l]) + " units: use 0 to " +
                               std::to_string(most));
      }
      sums[l] += plan[l];
    }
  }
  return sums;
}

}  // namespace

Result<int64_t> SampleCount(double fraction, int64_t n_tasks) {
  if (!(fraction > 0 && fraction <= 1)) {
    return InvalidArgument("sample fraction " + std::to_string(fraction) + " outside (0, 1]: use a share such as 0.1");
  }
  if (n_tasks < 1) return InvalidArgument(std::to_string(n_tasks) + " tasks to sample: give at least one");
  const double wanted = std::ceil(fraction * static_cast<double>(n_tasks) - 1e-9);
  return wanted >= static_cast<double>(n_tasks) ? n_tasks : std::max<int64_t>(1, static_cast<int64_t>(wanted));
}

Result<std::vector<int64_t>> MeanOfTotalPlans(std::span<const std::vector<int64_t>> plans) {
  ARKVALE_ASSIGN_OR_RETURN(std::vector<int64_t> mean, SumPlans(plans));
  const auto n = static_cast<int64_t>(plans.size());
  std::vector<int64_t> rest(mean.size());
  int64_t missing = 0;
  for (size_t l = 0; l < mean.size(); ++l) {
    rest[l] = mean[l] % n;
    mean[l] /= n;
    missing += rest[l];
  }
  missing /= n;
  std::vector<size_t> order(mean.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rest[a] > rest[b]; });
  for (int64_t i = 0; i < missing; ++i) ++mean[order[i]];
  return mean;
}

Result<std::vector<int64_t>> MeanOfRetentionPlans(std::span<const std::vector<int64_t>> plans) {
  ARKVALE_ASSIGN_OR_RETURN(std::vector<int64_t> mean, SumPlans(plans));
  const auto n = static_cast<int64_t>(plans.size());
  for (int64_t& units : mean) {
    const int64_t down = units / n, twice_rest = 2 * (units % n);
    units = down + (twice_rest > n || (twice_rest == n && down % 2 == 1) ? 1 : 0);
  }
  return mean;
}

}  // namespace arkvale
