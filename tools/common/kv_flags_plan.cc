// KvFlags's part for plans. A file of its own: what reads flags alone (fuzz/) links no engine.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tools/common/kv_flags.h"

namespace arkvale::tools {

Status KvFlags::CheckBeside(const PlanInput& plan, const KvOptions& given, const KvOptions& planned) const {
  const auto refuse = [&](const std::string& flag, const std::string& value, const std::string& other) {
    return InvalidArgument(flag + " " + value + " beside plan " + plan.path + ", which says " + other +
                           ": leave one of them out");
  };
  if (Given(policy_option_) && planned.policy != given.policy) {
    return refuse("--kv-policy", policy_, std::string(KvPolicyName(planned.policy)));
  }
  const std::vector<int64_t>& layers = planned.layer_budget_tokens;
  if (Given(budget_option_) &&
      std::any_of(layers.begin(), layers.end(), [&](int64_t tokens) { return tokens != given.budget_tokens; })) {
    return refuse("--kv-budget", budget_, std::to_string(MeanBudgetTokens(planned)) + " tokens on average");
  }
  if (Given(page_option_) && planned.page_tokens != given.page_tokens) {
    return refuse("--kv-page", std::to_string(page_tokens_), std::to_string(planned.page_tokens));
  }
  if (Given(dense_option_) && planned.dense_layers != given.dense_layers) {
    return refuse("--kv-dense-layers", std::to_string(dense_layers_), std::to_string(planned.dense_layers));
  }
  if (opts_.find("snap-window=") != std::string::npos && planned.snap_window != given.snap_window) {
    return refuse("--kv-opt snap-window", std::to_string(given.snap_window), std::to_string(planned.snap_window));
  }
  return OkStatus();
}

Result<KvOptions> KvFlags::WithPlan(const PlanInput& plan, const KvOptions& options, const ApplyPlanText& apply) const {
  KvOptions planned = options;
  const Status applied = apply(plan.text, planned);
  if (!applied.ok()) return Status(applied.kind(), plan.path + ": " + applied.message());
  ARKVALE_RETURN_IF_ERROR(CheckBeside(plan, options, planned));
  if (Given(topk_option_)) planned.layer_topk_pages.clear();
  return planned;
}

Result<KvOptions> KvFlags::Resolve(const Engine& engine, const KvOptions& options) const {
  if (plan_.empty()) return CheckBudget(options, engine.model());
  ARKVALE_ASSIGN_OR_RETURN(const PlanInput plan, ReadPlan(plan_));
  const auto apply = [&](std::string_view text, KvOptions& o) { return engine.ApplyPlan(text, o); };
  ARKVALE_ASSIGN_OR_RETURN(KvOptions planned, WithPlan(plan, options, apply));
  return CheckBudget(std::move(planned), engine.model());
}

}  // namespace arkvale::tools
