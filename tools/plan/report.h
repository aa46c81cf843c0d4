// What `arkvale plan` says of the plans it made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/json.h"
#include "tools/plan/make_plan.h"
#include "tools/plan/measure.h"
#include "tools/plan/validate.h"

namespace arkvale::tools {

// How the plans of a run came about: the same for all of them.
struct PlanRun {
  std::string model, model_fingerprint;
  std::vector<std::string> samples;    // measured
  std::vector<int64_t> sample_tokens;  // their lengths
  double sample_fraction = 0;
  double planning_ms = 0;      // measuring and planning, without validation
  int64_t profile_bytes = 0;   // what the mini-prefill of the longest sample takes by its formula
  int64_t rss_peak_bytes = 0;  // of the process, before the validation
};

struct WrittenPlan {
  MadePlan plan;                         // as it was made
  std::optional<Validation> validation;  // none: not asked for, or no sample was left for it
  bool uniform_is_better = false;
  std::vector<LayerPlan> layers;  // in the file: the plan's, or equal budgets where those are better
  std::string path;
};

// {model, kind, measure, layers:[{layer, budget_tokens, topk_pages, retention}], ..., planning_ms, rss_peak_bytes}
Json PlanJson(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written);
// Of the plan file: how it was made.
Json MadeByJson(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written);
// A few lines for people.
std::string PlanText(const PlanTarget& target, const PlanRun& run, const WrittenPlan& written);

}  // namespace arkvale::tools
