// The resident rule (algorithms 4.3): which pages stay, come and go. Pure functions of numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "kv/page_table.h"
#include "kv/select.h"

namespace arkvale {

struct ResidencyInput {
  PageBudget budget;                  // n_pages > budget.pages
  std::span<const PageState> states;  // [n_pages] of one group, the new page included
  PageRanking ranking;                // of every candidate, or of some
  WindowExit window_exit = WindowExit::kRank;
  bool page_opened = false;  // a new page opened in this step: the window moved
};

struct ResidencyPlan {
  std::vector<int32_t> selected;   // S, best first
  std::vector<int32_t> recalls;    // (Pin + S) minus R_old; selected ones first, best first
  std::vector<int32_t> evictions;  // R_old minus R_new, by page; with WindowExit::kDrop the dropped page comes first
                                   // and may stand in `recalls` too
  // Kept for their memory.
  TopKScratch top_k;
  std::vector<uint64_t> marks;
  std::vector<float> zone_scores;
  std::vector<int32_t> zone_best;

  // Memory for a plan of n_pages pages of which at most n_moves are hot or selected, and to rank them all where a zone
  // is planned: making it allocates nothing then.
  void Reserve(int64_t n_pages, int64_t n_moves, bool with_zone);
};

// One decode step: R_new = Pin + S + F.
void PlanStep(const ResidencyInput& input, ResidencyPlan& plan);

// After PlanStep: the best `n_zone` candidates outside R_new, ascending, which the step estimates (algorithms 4.4b).
void PlanZone(const ResidencyInput& input, int64_t n_zone, ResidencyPlan& plan, std::vector<int32_t>& zone);

// Whether the estimate of a step that ranks all pages leaves the scores of their keys to a zone of `n_zone` pages,
// which then need not compute them again. The bits are the same; which is quicker depends on how many of the scores the
// zone uses, and so on its share of the pages: estimate and zone together take 0.64 to 0.8 of their time where the zone
// is everything, 0.91 to 0.93 at an eighth of the pages, 0.94 to 0.96 at a twelfth, 1 to 1.04 at a thirty-second; where
// the codes come from DRAM (8B, 32k tokens) 0.8, 1 to 1.1, 1.05, 1.05 (bench, '^estimate_and_zone/model').
inline constexpr int64_t kScoredPagesPerZonePage = 8;
bool LeavesKeyScores(const PageBudget& budget, int32_t n_pages, int64_t n_zone);

// End of a prefill: R = Pin + the best places() candidates (algorithms 5). `selected` are those.
void PlanAfterPrefill(const ResidencyInput& input, ResidencyPlan& plan);

}  // namespace arkvale
