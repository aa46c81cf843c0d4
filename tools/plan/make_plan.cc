#include "tools/plan/make_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "plan/average.h"

namespace arkvale::tools {
namespace {

// R_l(x) of one sample.
double Retention(const MeasuredGains& sample, size_t layer, int64_t units) {
  const auto& gains = sample.gains[layer];
  const int64_t n = std::min<int64_t>(units, static_cast<int64_t>(gains.size()));
  return std::accumulate(gains.begin(), gains.begin() + n, sample.start[layer]);
}

double MeanRetention(std::span<const MeasuredGains> samples, std::span<const int64_t> units) {
  double sum = 0;
  for (const MeasuredGains& sample : samples) {
    for (size_t l = 0; l < units.size(); ++l) sum += Retention(sample, l, units[l]);
  }
  return sum / static_cast<double>(samples.size() * units.size());
}

// The least equal units of every layer with a mean retention of at least `wanted`, or all there are.
int64_t UniformUnits(std::span<const MeasuredGains> samples, double wanted) {
  size_t most = 0;
  for (const MeasuredGains& sample : samples) {
    for (const auto& gains : sample.gains) most = std::max(most, gains.size());
  }
  int64_t low = 0, high = static_cast<int64_t>(most);
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const std::vector<int64_t> units(samples[0].gains.size(), middle);
    if (MeanRetention(samples, units) >= wanted - 1e-9) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

Result<int64_t> UnitsOfTotal(const PlanTarget& target, int64_t total_tokens) {
  const auto n_layers = static_cast<int32_t>(target.layers.size());
  return target.kind == PlanKind::kXkv ? TokenUnits(total_tokens, n_layers, target.kv.snap_window, target.least_units())
                                       : PageUnits(total_tokens, n_layers, target.layout(), target.least_units());
}

// Units per layer of every sample for one request.
Result<std::vector<std::vector<int64_t>>> PlanSamples(const PlanTarget& target, std::span<const MeasuredGains> samples,
                                                      const PlanRequest& request) {
  int64_t units = 0;
  if (request.total_tokens > 0) {
    ARKVALE_ASSIGN_OR_RETURN(units, UnitsOfTotal(target, request.total_tokens));
  }
  std::vector<std::vector<int64_t>> plans;
  for (const MeasuredGains& sample : samples) {
    auto plan = request.total_tokens > 0 ? AllocateTotal(sample.views(), sample.least_units, units)
                                         : AllocateRetention(sample.views(), sample.least_units, request.retention);
    if (!plan.ok()) return plan.status();
    plans.push_back(std::move(plan->units));
  }
  return plans;
}

void SetRetention(const PlanTarget& target, std::span<const MeasuredGains> samples, std::span<const int64_t> units,
                  MadePlan& plan) {
  for (size_t l = 0; l < units.size(); ++l) {
    double sum = 0;
    for (const MeasuredGains& sample : samples) sum += Retention(sample, l, units[l]);
    plan.retention.push_back(sum / static_cast<double>(samples.size()));
  }
  const auto uniform = UniformUnits(samples, plan.mean_retention()) * target.unit_tokens() + target.fixed_tokens();
  plan.saved_vs_uniform =
      1 - static_cast<double>(plan.total_tokens) / static_cast<double>(uniform * static_cast<int64_t>(units.size()));
}

}  // namespace

double MadePlan::mean_retention() const {
  return std::accumulate(retention.begin(), retention.end(), 0.0) / static_cast<double>(retention.size());
}

int64_t MadePlan::uniform_tokens() const { return total_tokens / static_cast<int64_t>(layers.size()); }

Status CheckTotals(const PlanTarget& target, std::span<const PlanRequest> requests) {
  for (const PlanRequest& request : requests) {
    if (request.total_tokens > 0) ARKVALE_RETURN_IF_ERROR(UnitsOfTotal(target, request.total_tokens).status());
  }
  return OkStatus();
}

Result<std::vector<MadePlan>> MakePlans(const PlanTarget& target, std::span<const MeasuredGains> samples,
                                        std::span<const PlanRequest> requests) {
  std::vector<MadePlan> made;
  for (const PlanRequest& request : requests) {
    ARKVALE_ASSIGN_OR_RETURN(const auto plans, PlanSamples(target, samples, request));
    ARKVALE_ASSIGN_OR_RETURN(const auto units,
                             request.total_tokens > 0 ? MeanOfTotalPlans(plans) : MeanOfRetentionPlans(plans));
    MadePlan plan{.request = request, .layers = {}, .retention = {}};
    plan.layers = target.kind == PlanKind::kXkv ? TokenBudgets(units, target.kv.snap_window)
                                                : PageBudgets(units, target.layout());
    for (const LayerPlan& layer : plan.layers) plan.total_tokens += layer.budget_tokens;
    if (target.measure == Measure::kMass) SetRetention(target, samples, units, plan);
    made.push_back(std::move(plan));
  }
  return made;
}

KvPlan PlanOfLayers(const PlanTarget& target, std::span<const LayerPlan> managed, int32_t n_layers) {
  KvPlan plan;
  plan.kind = target.kind;
  plan.page_tokens = static_cast<int32_t>(target.unit_tokens());
  plan.window_tokens = target.kv.snap_window;
  plan.layers.resize(static_cast<size_t>(n_layers));
  for (size_t i = 0; i < managed.size(); ++i) plan.layers[static_cast<size_t>(target.layers[i])] = managed[i];
  return plan;
}

std::vector<LayerPlan> UniformLayers(const PlanTarget& target, const MadePlan& plan) {
  const int64_t tokens = plan.uniform_tokens() / target.unit_tokens() * target.unit_tokens();
  return std::vector<LayerPlan>(plan.layers.size(), {.budget_tokens = tokens});
}

}  // namespace arkvale::tools
