#include "kv/evict.h"

#include <algorithm>

namespace arkvale {
namespace {

// Keeps the selected pages and, of the other resident candidates, the best `n_keep`; plans the rest.
void PlanAround(const ResidencyInput& in, int32_t dropped, int32_t n_keep, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const int32_t begin = in.budget.candidates_begin(), end = in.budget.candidates_end(n_pages);
  const auto hot = [&](int32_t page) { return IsHot(in.states[page]) && page != dropped; };

  plan.recalls.clear();
  plan.evictions.clear();
  if (dropped >= 0) plan.evictions.push_back(dropped);
  for (const int32_t page : plan.selected) {
    if (!hot(page)) plan.recalls.push_back(page);
  }
  // Sinks and window are hot but where a prefill in a tier with few slots pushed them out.
  const auto recall_pinned = [&](int32_t first, int32_t last) {
    for (int32_t page = first; page < last; ++page) {
      if (in.states[page] == PageState::kEvicted) plan.recalls.push_back(page);
    }
  };
  recall_pinned(0, begin);
  recall_pinned(end, n_pages);
  // Leftover residents, walked in page order beside the sorted selection.
  std::vector<int32_t>& left = plan.scratch;
  left.assign(plan.selected.begin(), plan.selected.end());
  std::sort(left.begin(), left.end());
  const size_t n_selected = left.size();
  size_t next = 0;
  for (int32_t page = begin; page < end; ++page) {
    if (next < n_selected && left[next] == page) {
      ++next;
    } else if (hot(page)) {
      left.push_back(page);
    }
  }
  left.erase(left.begin(), left.begin() + static_cast<int64_t>(n_selected));
  if (n_keep > 0 && static_cast<int32_t>(left.size()) > n_keep) {
    const PageRanking ranking{in.scores, in.shortlist};
    const auto better = [&](int32_t a, int32_t b) { return ranking.Before(a, b); };
    std::nth_element(left.begin(), left.begin() + (n_keep - 1), left.end(), better);
    std::sort(left.begin() + n_keep, left.end());
  }
  const size_t kept = std::min<size_t>(left.size(), static_cast<size_t>(std::max(n_keep, 0)));
  plan.evictions.insert(plan.evictions.end(), left.begin() + static_cast<int64_t>(kept), left.end());
}

}  // namespace

void PlanStep(const ResidencyInput& in, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const PageBudget& b = in.budget;
  SelectPages({in.scores, in.shortlist}, b.candidates_begin(), b.candidates_end(n_pages), b.topk, plan.selected);
  int32_t dropped = -1;
  if (in.page_opened && in.window_exit == WindowExit::kDrop) {
    const int32_t left_window = n_pages - 1 - b.window;
    if (left_window >= b.sinks && IsHot(in.states[left_window])) dropped = left_window;
  }
  PlanAround(in, dropped, b.places() - b.topk, plan);
}

void PlanAfterPrefill(const ResidencyInput& in, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const PageBudget& b = in.budget;
  SelectPages({in.scores, in.shortlist}, b.candidates_begin(), b.candidates_end(n_pages), b.places(), plan.selected);
  PlanAround(in, -1, 0, plan);
}

}  // namespace arkvale
