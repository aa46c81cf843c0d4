// From gains of samples to the budgets of layers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "plan/kv_plan.h"
#include "tools/plan/measure.h"

namespace arkvale::tools {

// What one plan is to reach; one of the two is set.
struct PlanRequest {
  int64_t total_tokens = 0;  // of all managed layers, windows and sinks included
  double retention = 0;      // mean over the layers, 0..1
};

struct MadePlan {
  PlanRequest request;
  std::vector<LayerPlan> layers;  // of the managed layers
  std::vector<double> retention;  // the same, mean over the samples; empty where the measure is no retention
  int64_t total_tokens = 0;       // sum of the layers' budgets
  double saved_vs_uniform = 0;    // 1 - total / the least total with equal budgets that retains as much; the same

  double mean_retention() const;
  int64_t uniform_tokens() const;  // the largest equal budgets within the total
};

// InvalidArgument where a total is too small for the minimum of every layer: to be told before anything is measured.
Status CheckTotals(const PlanTarget& target, std::span<const PlanRequest> requests);

// Each sample planned on its own, then the mean of the plans (XKV 7.4), in the order of the requests.
// Errors as CheckTotals.
Result<std::vector<MadePlan>> MakePlans(const PlanTarget& target, std::span<const MeasuredGains> samples,
                                        std::span<const PlanRequest> requests);

// These budgets of the managed layers as a plan of a model with `n_layers`, but for which model that is.
KvPlan PlanOfLayers(const PlanTarget& target, std::span<const LayerPlan> managed, int32_t n_layers);

// The same total in equal budgets, whole units.
std::vector<LayerPlan> UniformLayers(const PlanTarget& target, const MadePlan& plan);

}  // namespace arkvale::tools
