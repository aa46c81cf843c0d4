#include "tools/eval/page_metrics.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "ops/top_k.h"

namespace arkvale::tools {
namespace {

// Sums of doubles that should reach a share may fall short of it by their roundings.
constexpr double kMassRounding = 1e-7;

}  // namespace

std::vector<int32_t> RankPages(std::span<const float> values) {
  std::vector<int32_t> order;
  TopK(values, std::ssize(values), order);
  return order;
}

std::vector<int32_t> PageRanks(std::span<const float> values) {
  const std::vector<int32_t> order = RankPages(values);
  std::vector<int32_t> ranks(order.size());
  for (size_t i = 0; i < order.size(); ++i) ranks[order[i]] = static_cast<int32_t>(i);
  return ranks;
}

std::vector<int32_t> RecallHits(std::span<const int32_t> truth, std::span<const int32_t> estimated, int32_t max_k) {
  const size_t n = std::min({truth.size(), estimated.size(), static_cast<size_t>(max_k)});
  std::vector<int32_t> hits(n);
  // A page counts from the k on that both rankings have reached it.
  for (size_t i = 0; i < n; ++i) {
    const auto found = std::find(estimated.begin(), estimated.begin() + static_cast<int64_t>(n), truth[i]);
    const auto at = std::max(i, static_cast<size_t>(found - estimated.begin()));
    if (at < n) ++hits[at];
  }
  std::partial_sum(hits.begin(), hits.end(), hits.begin());
  return hits;
}

PageMass SumPages(std::span<const float> token_mass, int32_t page_tokens) {
  const size_t p = page_tokens, n_pages = (token_mass.size() + p - 1) / p;
  PageMass pages{std::vector<float>(n_pages), std::vector<double>(n_pages)};
  for (size_t t = 0; t < token_mass.size(); ++t) {
    pages.key[t / p] = std::max(pages.key[t / p], token_mass[t]);
    pages.mass[t / p] += token_mass[t];
  }
  return pages;
}

int32_t PagesForMass(const PageMass& pages, double share) {
  int32_t n = 0;
  double sum = 0;
  for (const int32_t page : RankPages(pages.key)) {
    ++n;
    sum += pages.mass[page];
    if (sum >= share - kMassRounding) break;
  }
  return n;
}

double LargestSum(std::span<const double> values, int64_t n) {
  std::vector<double> sorted(values.begin(), values.end());
  n = std::min(n, std::ssize(sorted));
  std::partial_sort(sorted.begin(), sorted.begin() + n, sorted.end(), std::greater<>());
  return std::accumulate(sorted.begin(), sorted.begin() + n, 0.0);
}

Dynamics MeasureDynamics(std::span<const std::vector<int32_t>> ranks, int32_t k, int32_t b) {
  Dynamics d;
  const auto n_steps = std::ssize(ranks);
  int64_t entered = 0, revived = 0, chosen = 0, n_revival_steps = 0;
  for (int64_t t = 1; t < n_steps; ++t) {
    n_revival_steps += t >= kRevivalSteps ? 1 : 0;
    for (size_t page = 0; page < ranks[t].size(); ++page) {
      if (ranks[t][page] >= k) continue;
      const auto rank_before = [&](int64_t step) { return page < ranks[step].size() ? ranks[step][page] : -1; };
      const int32_t last = rank_before(t - 1);
      ++chosen;
      entered += last < 0 || last >= k ? 1 : 0;
      if (t < kRevivalSteps) continue;
      bool cold = true;
      for (int64_t step = t - kRevivalSteps; step < t && cold; ++step) cold = rank_before(step) >= b;
      revived += cold ? 1 : 0;
    }
  }
  if (chosen > 0) d.churn = static_cast<double>(entered) / static_cast<double>(chosen);
  if (n_revival_steps > 0) d.revival = static_cast<double>(revived) / static_cast<double>(n_revival_steps);
  return d;
}

}  // namespace arkvale::tools
