#include "tools/eval/fidelity_stats.h"

#include <algorithm>
#include <cmath>

#include "base/quantile.h"

namespace arkvale::tools {
namespace {

constexpr size_t kBlockSteps = 64;
constexpr size_t kMinStepsP999 = 1000;

void AddKl(std::span<const StepFidelity> steps, FidelitySummary& s) {
  std::vector<double> kl;
  for (const StepFidelity& step : steps) kl.push_back(step.kl);
  s.kl_mean = Mean(kl);
  s.kl_median = Median(kl);
  s.kl_p90 = Quantile(kl, 0.9);
  s.kl_p95 = Quantile(kl, 0.95);
  s.kl_p99 = Quantile(kl, 0.99);
  if (kl.size() >= kMinStepsP999) s.kl_p999 = Quantile(kl, 0.999);
  s.kl_max = *std::max_element(kl.begin(), kl.end());
}

void AddShares(std::span<const StepFidelity> steps, FidelitySummary& s) {
  int64_t same = 0, clear = 0, same_clear = 0;
  for (const StepFidelity& step : steps) {
    same += step.same_top ? 1 : 0;
    clear += step.clear ? 1 : 0;
    same_clear += step.same_top && step.clear ? 1 : 0;
  }
  s.same_top = static_cast<double>(same) / static_cast<double>(steps.size());
  if (clear > 0) s.same_top_clear = static_cast<double>(same_clear) / static_cast<double>(clear);
}

void AddLikelihood(std::span<const StepFidelity> steps, FidelitySummary& s) {
  const auto n = static_cast<double>(steps.size());
  double nll = 0, nll_dense = 0, d = 0, d2 = 0, dp = 0, dp2 = 0;
  for (const StepFidelity& step : steps) {
    const double difference = step.nll - step.nll_dense;
    nll += step.nll;
    nll_dense += step.nll_dense;
    d += difference;
    d2 += difference * difference;
    dp += step.dp;
    dp2 += step.dp * step.dp;
  }
  s.ppl = std::exp(nll / n);
  s.ppl_dense = std::exp(nll_dense / n);
  s.ppl_ratio = std::exp(d / n);
  const double variance = std::max(0.0, d2 / n - d / n * (d / n));
  if (steps.size() > 1) s.ppl_ratio_se = s.ppl_ratio * std::sqrt(variance / (n - 1));
  s.dp_mean = dp / n;
  s.dp_rms = std::sqrt(dp2 / n);
}

void AddBlocks(std::span<const WindowSteps> windows, FidelitySummary& s) {
  std::vector<double> sums;
  std::vector<int64_t> counts;
  for (const WindowSteps& steps : windows) {
    for (size_t j = 0; j < steps.size(); ++j) {
      const size_t block = j / kBlockSteps;
      if (block >= sums.size()) {
        sums.push_back(0);
        counts.push_back(0);
      }
      sums[block] += steps[j].kl;
      ++counts[block];
    }
  }
  for (size_t b = 0; b < sums.size(); ++b) s.kl_blocks.push_back(sums[b] / static_cast<double>(counts[b]));
}

}  // namespace

FidelitySummary Summarise(std::span<const WindowSteps> windows) {
  FidelitySummary s;
  WindowSteps all;
  for (const WindowSteps& steps : windows) {
    if (steps.empty()) continue;
    all.insert(all.end(), steps.begin(), steps.end());
    double sum = 0;
    for (const StepFidelity& step : steps) sum += step.kl;
    s.kl_windows.push_back(sum / static_cast<double>(steps.size()));
    s.same_answer += std::all_of(steps.begin(), steps.end(), [](const auto& step) { return step.same_top; }) ? 1 : 0;
  }
  s.n_windows = static_cast<int64_t>(s.kl_windows.size());
  s.n_steps = static_cast<int64_t>(all.size());
  if (all.empty()) return s;
  s.same_answer /= static_cast<double>(s.n_windows);
  AddKl(all, s);
  s.kl_interval = BootstrapMean(s.kl_windows);
  AddShares(all, s);
  AddLikelihood(all, s);
  AddBlocks(windows, s);
  return s;
}

}  // namespace arkvale::tools
