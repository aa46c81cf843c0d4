// What `arkvale inspect` says about a plan.
#pragma once

#include <string>

#include "plan/kv_plan.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// {kind: "plan", for, path, model_name, model_fingerprint, page_tokens, window_tokens, n_layers, n_planned_layers,
// total_tokens, mean_tokens, least_tokens, largest_tokens, layers: [{layer, budget_tokens, topk_pages} | null],
// made_by}. The numbers are over the layers that the plan has an entry for.
Json PlanJson(const std::string& path, const KvPlan& plan);

// The same for people, with a bar per layer: lines of at most 80 columns (a long path or name aside).
std::string PlanText(const std::string& path, const KvPlan& plan);

}  // namespace arkvale::tools
