#include "tools/eval/residency_sim.h"

#include "base/check.h"

namespace arkvale::tools {

void ResidencySim::EndPrefill(int32_t n_pages, std::span<const float> scores) {
  states_.assign(n_pages, PageState::kResident);
  if (!over_budget()) return;
  PlanAfterPrefill({.budget = budget_, .states = states_, .ranking = {.scores = scores}}, plan_);
  Apply();
}

void ResidencySim::Step(int32_t n_pages, std::span<const float> scores) {
  const auto opened = n_pages - static_cast<int32_t>(states_.size());
  ARKVALE_CHECK(opened == 0 || opened == 1);
  states_.resize(n_pages, PageState::kResident);
  ++steps_;
  inserted_ += opened;
  if (!over_budget()) return;
  PlanStep({.budget = budget_,
            .states = states_,
            .ranking = {.scores = scores},
            .window_exit = window_exit_,
            .page_opened = opened == 1},
           plan_);
  recalled_ += std::ssize(plan_.recalls);
  Apply();
}

// Evictions first: a dropped page may be recalled at once.
void ResidencySim::Apply() {
  for (const int32_t page : plan_.evictions) states_[page] = PageState::kEvicted;
  for (const int32_t page : plan_.recalls) states_[page] = PageState::kResident;
}

}  // namespace arkvale::tools
