// How much each layer gains by its next token or page, measured on samples.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "engine/runtime.h"
#include "plan/allocate.h"
#include "plan/budgets.h"
#include "plan/curve.h"
#include "plan/kv_plan.h"

namespace arkvale::tools {

enum class Measure : uint8_t {
  kMass,  // attention of the prompt's last tokens (XKV 7.1, 7.6)
  kKl,    // divergence from dense attention where one layer alone is under a budget
};

// What is planned for.
struct PlanTarget {
  PlanKind kind = PlanKind::kXkv;
  Measure measure = Measure::kMass;
  KvOptions kv;                 // of the policy, without budgets
  std::vector<int32_t> layers;  // the managed ones: full attention, and not dense

  // Layers of full attention from kv.dense_layers on. InvalidArgument where there is none.
  static Result<std::vector<int32_t>> ManagedLayers(const KvShape& shape, const KvOptions& kv);

  PageLayout layout() const { return {kv.page_tokens, kv.sink_pages, kv.window_pages}; }
  // Units (tokens, or candidate pages of a group) that no layer gets fewer of: 1 token, 2 pages.
  int64_t least_units() const { return kind == PlanKind::kXkv ? 1 : 2; }
  // Tokens per unit, and the units that every layer has besides those it is given.
  int64_t unit_tokens() const { return kind == PlanKind::kXkv ? 1 : kv.page_tokens; }
  int64_t fixed_tokens() const;
};

// One sample's, or the mean of many: per managed layer.
struct MeasuredGains {
  std::vector<std::vector<float>> gains;
  std::vector<double> start;
  int64_t least_units = 1;

  std::vector<LayerGains> views() const;
};

// Where the last W tokens look. `progress` may end the run. InvalidArgument for a sample too short to be judged.
Result<MeasuredGains> MeasureMass(Runtime& runtime, const PlanTarget& target, std::span<const int32_t> ids,
                                  const std::function<Status()>& progress);

// Losses of one layer at several sizes, per managed layer.
using LayerLosses = std::vector<std::vector<LossPoint>>;

// Sizes in units at which MeasureKl looks for plans of mean budgets from `least` to `most` tokens: a quarter
// of the one to four times the other, by factors of 2, as far as `n_context` tokens have units.
std::vector<int64_t> KlSizes(const PlanTarget& target, int64_t least_tokens, int64_t most_tokens, int64_t n_context);

// Mean KL in nats over the last `n_steps` tokens, fed after the others, where one layer alone is under a budget.
// `progress` is told how many layers are done and may end the run. InvalidArgument: a sample without more tokens than
// steps.
Result<LayerLosses> MeasureKl(Runtime& runtime, const PlanTarget& target, std::span<const int32_t> ids, int64_t n_steps,
                              std::span<const int64_t> sizes, const std::function<Status(int64_t done)>& progress);

// The mean over samples, losses that every sample has measured, as gains of layers with `most_units` units.
Result<MeasuredGains> GainsOfLosses(std::span<const LayerLosses> samples, int64_t most_units);

}  // namespace arkvale::tools
