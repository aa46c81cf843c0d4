// From units of the planner to budgets of layers (algorithms 7.2, 7.6). Pure functions: any thread may call them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "plan/kv_plan.h"

namespace arkvale {

// Pages of an arkvale layer that are not the planner's to give.
struct PageLayout {
  int32_t page_tokens = 32;  // p: 8, 16, 32 or 64
  int32_t sink_pages = 2;    // n_s
  int32_t window_pages = 2;  // n_w
};

// units: tokens x_l that each managed layer keeps before the window -> budgets max(1, x_l) + W.
std::vector<LayerPlan> TokenBudgets(std::span<const int64_t> units, int32_t window_tokens);

// The total for AllocateTotal out of what all managed layers may hold together: without their windows; in pages,
// without their sinks and windows. InvalidArgument where less than `x_min` units per layer are left.
Result<int64_t> TokenUnits(int64_t total_tokens, int32_t n_layers, int32_t window_tokens, int64_t x_min);
Result<int64_t> PageUnits(int64_t total_tokens, int32_t n_layers, const PageLayout& layout, int64_t x_min);

// units: candidate pages m_l of each managed layer -> budgets B_l * p, B_l = n_s + n_w + max(1, m_l). Top-k is left to
// the policy's rule, which knows whether pages are read in place and follows the layer's own budget.
std::vector<LayerPlan> PageBudgets(std::span<const int64_t> units, const PageLayout& layout);

}  // namespace arkvale
