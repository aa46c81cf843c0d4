#include "plan/budgets.h"

#include <algorithm>
#include <string>

namespace arkvale {
namespace {

// What is left of a total, in units, when every layer has its fixed ones.
Result<int64_t> UnitsLeft(int64_t total_tokens, int32_t n_layers, int64_t fixed, int64_t x_min, int64_t unit_tokens) {
  if (n_layers < 1) return InvalidArgument("no layer to plan for: every layer is dense or slides");
  const int64_t units = total_tokens / unit_tokens, least = fixed + x_min;
  if (units >= n_layers * least) return units - n_layers * fixed;
  return InvalidArgument("total of " + std::to_string(total_tokens) + " tokens for " + std::to_string(n_layers) +
                         " layers: use at least " + std::to_string(n_layers * least * unit_tokens) + ", " +
                         std::to_string(least * unit_tokens) + " each, for what every layer keeps and " +
                         std::to_string(x_min) + (unit_tokens == 1 ? " token" : " page") + (x_min > 1 ? "s" : "") +
                         " more");
}

int64_t FixedPages(const PageLayout& layout) { return int64_t{layout.sink_pages} + layout.window_pages; }

}  // namespace

std::vector<LayerPlan> TokenBudgets(std::span<const int64_t> units, int32_t window_tokens) {
  std::vector<LayerPlan> plans;
  for (const int64_t x : units) plans.push_back({.budget_tokens = std::max<int64_t>(1, x) + window_tokens});
  return plans;
}

Result<int64_t> TokenUnits(int64_t total_tokens, int32_t n_layers, int32_t window_tokens, int64_t x_min) {
  return UnitsLeft(total_tokens, n_layers, window_tokens, x_min, 1);
}

Result<int64_t> PageUnits(int64_t total_tokens, int32_t n_layers, const PageLayout& layout, int64_t x_min) {
  return UnitsLeft(total_tokens, n_layers, FixedPages(layout), x_min, layout.page_tokens);
}

std::vector<LayerPlan> PageBudgets(std::span<const int64_t> units, const PageLayout& layout) {
  std::vector<LayerPlan> plans;
  for (const int64_t m : units) {
    plans.push_back({.budget_tokens = (FixedPages(layout) + std::max<int64_t>(1, m)) * layout.page_tokens});
  }
  return plans;
}

}  // namespace arkvale
