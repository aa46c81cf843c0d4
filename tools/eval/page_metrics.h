// Measures of page rankings (algorithms 6.1-6.3). Pure functions of numbers; rankings follow the order rule: higher
// value first, equal ones by index.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace arkvale::tools {

// All indices of `values`, best first.
std::vector<int32_t> RankPages(std::span<const float> values);

// rank[i]: place of index i in RankPages(values), 0 = best.
std::vector<int32_t> PageRanks(std::span<const float> values);

// hits[k - 1] = how many of the true best k are among the estimated best k, for k = 1 .. max_k, at most as many as
// there are pages. Both rankings: [n_pages], best first; `estimated` may hold other pages than `truth`.
std::vector<int32_t> RecallHits(std::span<const int32_t> truth, std::span<const int32_t> estimated, int32_t max_k);

// What each page of `page_tokens` tokens holds of a query's attention. token_mass: [n_tokens], shares of 1.
struct PageMass {
  std::vector<float> key;    // [n_pages] largest share of a token: what ranks the page
  std::vector<double> mass;  // [n_pages] sum of the shares
};
PageMass SumPages(std::span<const float> token_mass, int32_t page_tokens);

// Least number of top pages by key whose masses reach `share`; all of them where none does.
int32_t PagesForMass(const PageMass& pages, double share);

// Sum of the `n` largest values.
double LargestSum(std::span<const double> values, int64_t n);

// How a layer's choice of pages moves from step to step.
struct Dynamics {
  double churn = 0;    // share of the best k that were not among the best k of the step before
  double revival = 0;  // pages a step among the best k whose rank was >= b at every one of the kRevivalSteps before
};
inline constexpr int64_t kRevivalSteps = 16;

// ranks: [n_steps][pages of that step], 0 = best; pages only come. Means over the steps that have the history.
Dynamics MeasureDynamics(std::span<const std::vector<int32_t>> ranks, int32_t k, int32_t b);

}  // namespace arkvale::tools
