// Aggregates of many steps' divergences (evaluation protocol 4).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tools/eval/divergence.h"
#include "tools/eval/statistics.h"

namespace arkvale::tools {

// Steps of one window: not independent of each other.
using WindowSteps = std::vector<StepFidelity>;

struct FidelitySummary {
  int64_t n_windows = 0, n_steps = 0;
  double kl_mean = 0, kl_median = 0, kl_p90 = 0, kl_p95 = 0, kl_p99 = 0, kl_max = 0;
  std::optional<double> kl_p999;  // of 1000 steps and more
  Interval kl_interval;           // of the mean, over windows
  double same_top = 0;
  std::optional<double> same_top_clear;  // none where no step is clear
  double same_answer = 0;                // share of windows whose every step has the dense top token
  double ppl = 0, ppl_dense = 0;
  double ppl_ratio = 0, ppl_ratio_se = 0;  // exp of the mean nll difference; its standard error
  double dp_mean = 0, dp_rms = 0;
  std::vector<double> kl_windows;  // mean of each window
  std::vector<double> kl_blocks;   // mean of steps 0..63, 64..127, ... over the windows
};

FidelitySummary Summarise(std::span<const WindowSteps> windows);

// Whether a mean KL is no more than what rounding makes: three times the dense-against-dense floor.
inline bool AtFloor(double kl_mean, double kl_floor) { return kl_mean <= 3 * kl_floor; }

}  // namespace arkvale::tools
