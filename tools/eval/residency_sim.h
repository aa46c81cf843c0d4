// ResidencySim: which pages of one ranking (a group's, or a layer's) would be hot under a budget: the cache's own rules
// (kv/evict.h) without a cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/evict.h"
#include "kv/page_table.h"
#include "kv/select.h"

namespace arkvale::tools {

class ResidencySim {
 public:
  explicit ResidencySim(const PageBudget& budget, WindowExit window_exit = WindowExit::kRank)
      : budget_(budget), window_exit_(window_exit) {}

  // The end of a prefill that left n_pages pages. scores: of every candidate at least, by page.
  void EndPrefill(int32_t n_pages, std::span<const float> scores);
  // A decode step that ends with n_pages pages, at most one more than before.
  void Step(int32_t n_pages, std::span<const float> scores);

  int64_t steps() const { return steps_; }
  int64_t recalled() const { return recalled_; }
  int64_t inserted() const { return inserted_; }  // pages opened by steps
  bool hot(int32_t page) const { return IsHot(states_[page]); }
  // Whether the last step had to choose.
  bool over_budget() const { return std::ssize(states_) > budget_.pages; }
  const PageBudget& budget() const { return budget_; }

 private:
  void Apply();

  const PageBudget budget_;
  const WindowExit window_exit_;
  std::vector<PageState> states_;
  ResidencyPlan plan_;
  int64_t steps_ = 0, recalled_ = 0, inserted_ = 0;
};

// The paper's set-up (algorithms 6.4): `pages` pages, the best `topk` of all must be there, nothing is pinned.
inline PageBudget UnpinnedBudget(int32_t pages, int32_t topk) { return {.pages = pages, .topk = topk}; }

}  // namespace arkvale::tools
