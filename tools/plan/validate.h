// A plan against equal budgets of the same total, on samples it was not made from.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "engine/runtime.h"
#include "tools/plan/make_plan.h"
#include "tools/plan/measure.h"
#include "tools/plan/samples.h"

namespace arkvale::tools {

// Tokens at the end of a sample that are fed as steps, to judge what is left of the others.
inline constexpr int64_t kJudgedSteps = 64;

// Mean KL to dense attention in nats over all steps of all samples.
struct Validation {
  double kl_plan = 0, kl_uniform = 0;
  int64_t n_samples = 0;
};

// One result per plan. Samples without a token before the steps are left out; n_samples says how many were not.
// `progress` is told how many of samples * (kJudgedSteps - 1) steps are done and may end the run.
Result<std::vector<Validation>> Validate(Runtime& runtime, const PlanTarget& target, std::span<const MadePlan> plans,
                                         std::span<const PlanSample> samples,
                                         const std::function<Status(int64_t steps_done)>& progress);

}  // namespace arkvale::tools
