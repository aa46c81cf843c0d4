#include "tools/plan/validate.h"

#include <utility>

#include "engine/session.h"
#include "tools/eval/lockstep.h"

namespace arkvale::tools {
namespace {

// Steps under a plan of these managed layers.
KvOptions PlannedOptions(const PlanTarget& target, std::span<const LayerPlan> managed, int32_t n_layers) {
  KvOptions options = target.kv;
  ApplyPlan(PlanOfLayers(target, managed, n_layers), options);
  return options;
}

double SumOfKl(const CellRun& run) {
  double sum = 0;
  for (const StepFidelity& step : run.steps) sum += step.kl;
  return sum;
}

// Adds the sums of one sample.
Status ValidateOn(Runtime& runtime, const std::vector<KvOptions>& cells, std::span<const int32_t> ids,
                  const std::function<Status(int64_t steps_done)>& progress, std::vector<Validation>& sums) {
  const size_t n_context = ids.size() - kJudgedSteps;
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime, BaseOptions(cells)));
  ARKVALE_RETURN_IF_ERROR(session.Prefill(ids.first(n_context), true, [&](int64_t /*done*/) { return progress(0); }));
  const PrefilledContext context{&runtime, &session};
  int64_t steps = 0;
  ARKVALE_ASSIGN_OR_RETURN(
      const auto runs, RunLockstep(context, context, ids.subspan(n_context), cells, [&] { return progress(steps++); }));
  for (const CellRun& run : runs) {
    if (!run.error.empty()) return Internal("a plan cannot be validated: " + run.error);
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i].kl_plan += SumOfKl(runs[1 + 2 * i]);
    sums[i].kl_uniform += SumOfKl(runs[2 + 2 * i]);
    ++sums[i].n_samples;
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<Validation>> Validate(Runtime& runtime, const PlanTarget& target, std::span<const MadePlan> plans,
                                         std::span<const PlanSample> samples,
                                         const std::function<Status(int64_t steps_done)>& progress) {
  const int32_t n_layers = runtime.info().n_layers;
  // The floor's place (kFloorCell) goes to a plan: here it forks the same context as all others.
  std::vector<KvOptions> cells = {DenseOptions()};
  for (const MadePlan& plan : plans) {
    cells.push_back(PlannedOptions(target, plan.layers, n_layers));
    cells.push_back(PlannedOptions(target, UniformLayers(target, plan), n_layers));
  }
  std::vector<Validation> results(plans.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    if (static_cast<int64_t>(samples[i].ids.size()) <= kJudgedSteps) continue;
    const auto before = static_cast<int64_t>(i) * (kJudgedSteps - 1);
    const auto in_sample = [&](int64_t steps) { return progress(before + steps); };
    ARKVALE_RETURN_IF_ERROR(ValidateOn(runtime, cells, samples[i].ids, in_sample, results));
  }
  for (Validation& v : results) {
    // The last token of a sample is only predicted.
    const double n_steps = static_cast<double>(v.n_samples * (kJudgedSteps - 1));
    if (v.n_samples == 0) continue;
    v.kl_plan /= n_steps;
    v.kl_uniform /= n_steps;
  }
  return results;
}

}  // namespace arkvale::tools
