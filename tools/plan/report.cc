#include "tools/plan/report.h"

#include <algorithm>

#include "tools/common/format.h"

namespace arkvale::tools {
namespace {

const char* MeasureName(Measure measure) { return measure == Measure::kMass ? "mass" : "kl"; }

Json RequestJson(const PlanRequest& request) {
  return request.total_tokens > 0 ? Json{{"total_tokens", request.total_tokens}}
                                  : Json{{"retention", request.retention}};
}

Json ValidationJson(const WrittenPlan& written) {
  if (!written.validation) return nullptr;
  const Validation& v = *written.validation;
  return {{"kl_plan_nats", v.kl_plan},
          {"kl_uniform_nats", v.kl_uniform},
          {"n_samples", v.n_samples},
          {"written", written.uniform_is_better ? "uniform" : "plan"}};
}

Json LayersJson(const PlanTarget& target, const WrittenPlan& written) {
  Json layers = Json::array();
  for (size_t i = 0; i < written.layers.size(); ++i) {
    const bool known = !written.uniform_is_better && i < written.plan.retention.size();
    layers.push_back({{"layer", target.layers[i]},
                      {"budget_tokens", written.layers[i].budget_tokens},
                      {"topk_pages", written.layers[i].topk_pages},
                      {"retention", known ? Json(written.plan.retention[i]) : Json(nullptr)}});
  }
  return layers;
}

}  // namespace

Json MadeByJson(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written) {
  Json json = {{"measure", MeasureName(target.measure)},
               {"request", RequestJson(written.plan.request)},
               {"samples", run.samples},
               {"sample_tokens", run.sample_tokens},
               {"sample_fraction", run.sample_fraction},
               {"validated", ValidationJson(written)}};
  if (target.kind == PlanKind::kArkvale) json["digest"] = DigestName(target.kv.digest);
  return json;
}

Json PlanJson(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written) {
  const MadePlan& plan = written.plan;
  const bool retained = !plan.retention.empty();
  return {{"model", run.model},
          {"model_fingerprint", run.model_fingerprint},
          {"kind", PlanKindName(target.kind)},
          {"measure", MeasureName(target.measure)},
          {"layers", LayersJson(target, written)},
          {"total_tokens", plan.total_tokens},
          {"mean_tokens", static_cast<double>(plan.total_tokens) / static_cast<double>(plan.layers.size())},
          {"mean_retention", retained ? Json(plan.mean_retention()) : Json(nullptr)},
          {"saved_vs_uniform", retained ? Json(plan.saved_vs_uniform) : Json(nullptr)},
          {"validated", ValidationJson(written)},
          {"samples", run.samples},
          {"sample_tokens", run.sample_tokens},
          {"planning_ms", run.planning_ms},
          {"profile_bytes", run.profile_bytes},
          {"rss_peak_bytes", run.rss_peak_bytes},
          {"path", written.path}};
}

std::string PlanText(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written) {
  const MadePlan& plan = written.plan;
  const auto by_budget = [](const LayerPlan& a, const LayerPlan& b) { return a.budget_tokens < b.budget_tokens; };
  const auto [least, most] = std::minmax_element(plan.layers.begin(), plan.layers.end(), by_budget);
  const auto name = std::string(PlanKindName(target.kind));
  std::string text =
      Format("%s plan, %zu samples: %lld tokens in %zu layers, mean %.0f, %lld (layer %d) to %lld (layer %d)\n",
             name.c_str(), run.samples.size(), static_cast<long long>(plan.total_tokens), plan.layers.size(),
             static_cast<double>(plan.total_tokens) / static_cast<double>(plan.layers.size()),
             static_cast<long long>(least->budget_tokens), target.layers[least - plan.layers.begin()],
             static_cast<long long>(most->budget_tokens), target.layers[most - plan.layers.begin()]);
  if (!plan.retention.empty()) {
    text += Format("retains %.1f %% of the attention on average; equal budgets would need %.1f %% more\n",
                   100 * plan.mean_retention(), 100 * (1 / (1 - plan.saved_vs_uniform) - 1));
  }
  if (written.validation) {
    text += Format("KL to full attention on %lld other samples: plan %.3g, equal budgets %.3g nats\n",
                   static_cast<long long>(written.validation->n_samples), written.validation->kl_plan,
                   written.validation->kl_uniform);
  }
  return text + written.path + (written.uniform_is_better ? ": equal budgets, which are better\n" : "\n");
}

}  // namespace arkvale::tools
