#include "plan/allocate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/rng.h"
#include "plan/gains.h"
#include "plan/plan_test_util.h"

namespace arkvale {
namespace {

using Units = std::vector<int64_t>;
using Lists = std::vector<std::vector<float>>;

std::vector<LayerGains> Layers(const Lists& lists) {
  std::vector<LayerGains> layers;
  for (const auto& list : lists) layers.push_back({.gains = list});
  return layers;
}

Lists ThreeLayers() {
  Lists lists;
  for (const auto& scores : test::kThreeLayers) lists.push_back(*TokenGains(scores, 2));
  return lists;
}

int64_t Sum(const Units& units) { return std::accumulate(units.begin(), units.end(), int64_t{0}); }

int64_t Cost(const std::vector<LayerGains>& layers, const Units& x) {
  int64_t cost = 0;
  for (size_t l = 0; l < x.size(); ++l) cost += layers[l].cost * x[l];
  return cost;
}

double SumR(const std::vector<LayerGains>& layers, const Units& x) {
  double sum = 0;
  for (size_t l = 0; l < x.size(); ++l) {
    sum = std::accumulate(layers[l].gains.begin(), layers[l].gains.begin() + x[l], sum + layers[l].start);
  }
  return sum;
}

// What a plan says of itself is so.
void ExpectConsistent(const std::vector<LayerGains>& layers, const Allocation& plan) {
  ASSERT_EQ(plan.units.size(), layers.size());
  ASSERT_EQ(plan.retention.size(), layers.size());
  EXPECT_EQ(plan.spent, Cost(layers, plan.units));
  EXPECT_NEAR(plan.mean_retention() * static_cast<double>(layers.size()), SumR(layers, plan.units), 1e-9);
}

TEST(Allocate, WorkedExampleByTotal) {
  const Lists lists = ThreeLayers();
  const auto layers = Layers(lists);
  const struct {
    int64_t total;
    Units x;
    double sum;
    std::vector<double> retention;
  } rows[] = {{4, {1, 1, 2}, 1.625, {.275, .65, .70}},
              {5, {2, 1, 2}, 1.900, {.550, .65, .70}},
              {6, {3, 1, 2}, 2.125, {.775, .65, .70}},
              {8, {4, 1, 3}, 2.550, {1.0, .65, .90}}};
  for (const auto& row : rows) {
    const auto plan = AllocateTotal(layers, 0, row.total);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->units, row.x) << row.total;
    EXPECT_NEAR(3 * plan->mean_retention(), row.sum, 1e-6) << row.total;
    for (size_t l = 0; l < 3; ++l) EXPECT_NEAR(plan->retention[l], row.retention[l], 1e-6) << row.total << " " << l;
  }
  EXPECT_NEAR(SumR(layers, {2, 2, 2}), 2.050, 1e-6);
}

TEST(Allocate, WorkedExampleByRetention) {
  const Lists lists = ThreeLayers();
  for (const int64_t x_min : {0, 1}) {
    const auto low = AllocateRetention(Layers(lists), x_min, 0.7), high = AllocateRetention(Layers(lists), x_min, 0.8);
    ASSERT_TRUE(low.ok() && high.ok());
    EXPECT_EQ(low->units, (Units{3, 1, 2}));
    EXPECT_NEAR(low->mean_retention(), .70833, 1e-5);
    EXPECT_EQ(high->units, (Units{4, 1, 3}));
    EXPECT_NEAR(high->mean_retention(), .85, 1e-6);
  }
}

TEST(Allocate, WorkedExampleOrderOfIncrements) {
  const Lists lists = ThreeLayers();
  Units totals(13);
  std::iota(totals.begin(), totals.end(), int64_t{0});
  const auto plans = AllocateTotals(Layers(lists), 0, totals);
  ASSERT_TRUE(plans.ok());
  std::vector<size_t> order;
  for (size_t n = 1; n < plans->size(); ++n) {
    for (size_t l = 0; l < 3; ++l) {
      if ((*plans)[n].units[l] > (*plans)[n - 1].units[l]) order.push_back(l);
    }
  }
  EXPECT_EQ(order, (std::vector<size_t>{1, 2, 2, 0, 0, 0, 0, 2, 1, 1, 1, 2}));
}

TEST(Allocate, WorkedExampleInPages) {
  for (const auto& [group, sum] : {std::pair(1, 2.5), {2, 2.0}}) {
    std::vector<PagesWorth> pages;
    for (const auto& scores : test::kThreeLayers) {
      pages.push_back(*PageGains(
          {.scores = scores, .n_kv_heads = 2, .group_heads = group, .page_tokens = 2, .n_prompt_tokens = 4}));
    }
    std::vector<LayerGains> layers;
    for (const PagesWorth& p : pages) layers.push_back({.gains = p.gains, .start = p.pinned_share});
    const auto plan = AllocateTotal(layers, 1, 4);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->units, (Units{2, 1, 1}));
    EXPECT_NEAR(3 * plan->mean_retention(), sum, 1e-6);
  }
}

// A small problem whose sums are exact: gains are multiples of 1/64, and many are equal.
struct Problem {
  Lists lists;
  std::vector<LayerGains> layers;
  int64_t x_min;

  Problem(Rng& rng, bool costs) : lists(1 + rng.Below(4)), x_min(static_cast<int64_t>(rng.Below(3))) {
    for (auto& list : lists) {
      list.resize(rng.Below(6));
      for (float& gain : list) gain = static_cast<float>(rng.Below(9)) / 64;
      std::sort(list.begin(), list.end(), std::greater<>());
    }
    layers = Layers(lists);
    for (LayerGains& layer : layers) {
      layer.start = static_cast<double>(rng.Below(8)) / 64;
      if (costs) layer.cost = 1 + static_cast<int64_t>(rng.Below(3));
    }
  }
  int64_t least(size_t l) const { return std::min(x_min, static_cast<int64_t>(lists[l].size())); }
  int64_t least_cost() const {
    int64_t cost = 0;
    for (size_t l = 0; l < lists.size(); ++l) cost += layers[l].cost * least(l);
    return cost;
  }
  int64_t all_cost() const {
    int64_t cost = 0;
    for (size_t l = 0; l < lists.size(); ++l) cost += layers[l].cost * static_cast<int64_t>(lists[l].size());
    return cost;
  }
  // Every feasible x.
  std::vector<Units> All() const {
    std::vector<Units> all = {{}};
    for (size_t l = 0; l < lists.size(); ++l) {
      std::vector<Units> longer;
      for (const Units& x : all) {
        for (int64_t units = least(l); units <= static_cast<int64_t>(lists[l].size()); ++units) {
          longer.push_back(x);
          longer.back().push_back(units);
        }
      }
      all = std::move(longer);
    }
    return all;
  }
  // The best sum that `budget` buys.
  double Best(int64_t budget) const {
    double best = -1;
    for (const Units& x : All()) {
      if (Cost(layers, x) <= budget) best = std::max(best, SumR(layers, x));
    }
    return best;
  }
  // The least cost of a sum.
  int64_t LeastCost(double sum) const {
    int64_t least = std::numeric_limits<int64_t>::max();
    for (const Units& x : All()) {
      if (SumR(layers, x) >= sum) least = std::min(least, Cost(layers, x));
    }
    return least;
  }
};

TEST(Allocate, TotalEqualsBruteForce) {
  Rng rng("plan/brute/total");
  for (int round = 0; round < 300; ++round) {
    const Problem p(rng, false);
    for (int64_t total = p.least_cost(); total <= p.all_cost() + 1; ++total) {
      const auto plan = AllocateTotal(p.layers, p.x_min, total);
      ASSERT_TRUE(plan.ok());
      ExpectConsistent(p.layers, *plan);
      EXPECT_EQ(Sum(plan->units), std::min(total, p.all_cost()));
      for (size_t l = 0; l < p.lists.size(); ++l) EXPECT_GE(plan->units[l], p.least(l));
      EXPECT_EQ(SumR(p.layers, plan->units), p.Best(total));
    }
  }
}

TEST(Allocate, RetentionEqualsBruteForce) {
  Rng rng("plan/brute/retention");
  for (int round = 0; round < 300; ++round) {
    const Problem p(rng, false);
    const auto n = static_cast<double>(p.layers.size());
    const double most = SumR(p.layers, p.All().back());
    for (int step = 1; step <= 64; step += 3) {
      const double rho = step / 64.0;
      const auto plan = AllocateRetention(p.layers, p.x_min, rho);
      ASSERT_TRUE(plan.ok());
      ExpectConsistent(p.layers, *plan);
      // A sum out of reach: all that has a gain.
      EXPECT_EQ(plan->spent, p.LeastCost(std::min(rho * n - 1e-9, most)));
    }
  }
}

TEST(Allocate, CostsAgainstBruteForce) {
  Rng rng("plan/brute/costs");
  for (int round = 0; round < 300; ++round) {
    const Problem p(rng, true);
    for (int64_t total = p.least_cost(); total <= p.all_cost(); ++total) {
      const auto plan = AllocateTotal(p.layers, p.x_min, total);
      ASSERT_TRUE(plan.ok());
      ExpectConsistent(p.layers, *plan);
      EXPECT_LE(plan->spent, total);
      EXPECT_GT(plan->spent + 3, total);
      EXPECT_EQ(SumR(p.layers, plan->units), p.Best(plan->spent));
    }
    const double rho = static_cast<double>(1 + rng.Below(32)) / 64;
    const auto plan = AllocateRetention(p.layers, p.x_min, rho);
    ASSERT_TRUE(plan.ok());
    const double wanted = rho * static_cast<double>(p.layers.size()) - 1e-9;
    const double reached = SumR(p.layers, plan->units);
    EXPECT_EQ(reached, p.Best(plan->spent));
    if (reached >= wanted) EXPECT_LT(plan->spent - 3, p.LeastCost(wanted));
  }
}

Lists RandomLists(Rng& rng, size_t n_layers, int64_t n) {
  Lists lists;
  for (size_t l = 0; l < n_layers; ++l) lists.push_back(*TokenGains(test::RandomScores(rng, 2 * n), 2));
  return lists;
}

// True where no unit would be better elsewhere, and equal gains went to the smaller layer.
bool NoExchangeHelps(const std::vector<LayerGains>& layers, const Units& x, int64_t x_min) {
  for (size_t to = 0; to < x.size(); ++to) {
    if (x[to] == static_cast<int64_t>(layers[to].gains.size())) continue;
    for (size_t from = 0; from < x.size(); ++from) {
      if (from == to || x[from] <= x_min) continue;
      const float got = layers[to].gains[x[to]], lost = layers[from].gains[x[from] - 1];
      if (got > lost || (got == lost && to < from)) return false;
    }
  }
  return true;
}

TEST(Allocate, NoExchangeOfOneTokenHelps) {
  Rng rng("plan/exchange");
  const Lists lists = RandomLists(rng, 80, 4000);
  const auto layers = Layers(lists);
  for (const int64_t x_min : {0, 1, 300}) {
    for (const int64_t total : {24000, 24001, 100'003, 319'999}) {
      const auto plan = AllocateTotal(layers, x_min, total);
      ASSERT_TRUE(plan.ok());
      ExpectConsistent(layers, *plan);
      EXPECT_EQ(Sum(plan->units), total);
      EXPECT_TRUE(NoExchangeHelps(layers, plan->units, x_min)) << total;
    }
    for (const double rho : {0.3, 0.7, 0.95}) {
      const auto plan = AllocateRetention(layers, x_min, rho);
      ASSERT_TRUE(plan.ok());
      ExpectConsistent(layers, *plan);
      EXPECT_GE(plan->mean_retention(), rho - 1e-9);
      EXPECT_TRUE(NoExchangeHelps(layers, plan->units, x_min)) << rho;
      if (plan->spent == 80 * x_min) continue;  // the minimum is more than enough
      // One unit less is not enough, whichever it is.
      const auto less = AllocateTotal(layers, x_min, plan->spent - 1);
      ASSERT_TRUE(less.ok());
      EXPECT_LT(less->mean_retention(), rho);
    }
  }
}

TEST(Allocate, TheExchangeTestSeesOneMisplacedUnit) {
  Rng rng("plan/exchange_fails");
  const Lists lists = RandomLists(rng, 8, 500);
  const auto layers = Layers(lists);
  Units x = AllocateTotal(layers, 0, 1000)->units;
  ASSERT_TRUE(NoExchangeHelps(layers, x, 0));
  int seen = 0;
  for (size_t from = 0; from < x.size(); ++from) {
    for (size_t to = 0; to < x.size(); ++to) {
      if (from == to || x[from] == 0) continue;
      Units moved = x;
      --moved[from];
      ++moved[to];
      seen += NoExchangeHelps(layers, moved, 0) ? 0 : 1;
    }
  }
  EXPECT_EQ(seen, 8 * 7);
}

TEST(Allocate, ManyTotalsInOneRunAreNestedAndEqualSingleRuns) {
  Rng rng("plan/nested");
  Lists lists = RandomLists(rng, 13, 300);
  lists[4].resize(2);
  lists[7].clear();
  const auto layers = Layers(lists);
  const Units totals = {39, 39, 40, 500, 501, 1999, 3302, 5000};
  const auto plans = AllocateTotals(layers, 3, totals);
  ASSERT_TRUE(plans.ok());
  ASSERT_EQ(plans->size(), totals.size());
  for (size_t i = 0; i < totals.size(); ++i) {
    const auto single = AllocateTotal(layers, 3, totals[i]);
    ASSERT_TRUE(single.ok());
    EXPECT_EQ((*plans)[i].units, single->units);
    EXPECT_EQ((*plans)[i].retention, single->retention);
    EXPECT_EQ((*plans)[i].spent, std::min<int64_t>(totals[i], 11 * 300 + 2));
    for (size_t l = 0; i > 0 && l < lists.size(); ++l) EXPECT_GE((*plans)[i].units[l], (*plans)[i - 1].units[l]);
  }
  EXPECT_TRUE(AllocateTotals(layers, 3, {})->empty());
}

TEST(Allocate, EveryNumberOfLayersTakesTheLargestGains) {
  Rng rng("plan/layers");
  for (size_t n_layers = 1; n_layers <= 40; ++n_layers) {
    const Lists lists = RandomLists(rng, n_layers, 30);
    std::vector<float> all;
    for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
    std::sort(all.begin(), all.end(), std::greater<>());
    const auto total = static_cast<int64_t>(rng.Below(all.size() + 1));
    const auto plan = AllocateTotal(Layers(lists), 0, total);
    ASSERT_TRUE(plan.ok());
    EXPECT_NEAR(SumR(Layers(lists), plan->units), std::accumulate(all.begin(), all.begin() + total, 0.0), 1e-9);
  }
}

TEST(Allocate, ListsShorterThanTheMinimumAndTotalsAboveAll) {
  const Lists lists = {{.5f}, {}, {.4f, .3f, .2f}};
  const auto least = AllocateTotal(Layers(lists), 2, 3);
  ASSERT_TRUE(least.ok());
  EXPECT_EQ(least->units, (Units{1, 0, 2}));
  const auto most = AllocateTotal(Layers(lists), 2, 1'000'000);
  ASSERT_TRUE(most.ok());
  EXPECT_EQ(most->units, (Units{1, 0, 3}));
  EXPECT_EQ(most->spent, 4);
}

TEST(Allocate, RetentionNeverAddsUnitsWithoutGain) {
  const Lists lists = {{.5f, .25f, 0, 0}, {0, 0, 0}};
  const auto plan = AllocateRetention(Layers(lists), 0, 1.0);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->units, (Units{2, 0}));
  EXPECT_EQ(AllocateTotal(Layers(lists), 0, 4)->units, (Units{4, 0}));
}

TEST(Allocate, RetentionCountsTheStart) {
  const Lists lists = {{.1f, .1f}, {.5f, .4f}};
  std::vector<LayerGains> layers = Layers(lists);
  layers[0].start = .8;
  layers[1].start = .1;
  EXPECT_EQ(AllocateRetention(layers, 0, .45)->units, (Units{0, 0}));
  EXPECT_EQ(AllocateRetention(layers, 0, .7)->units, (Units{0, 1}));
  EXPECT_EQ(AllocateRetention(layers, 0, 1.0)->retention.size(), 2u);
}

void ExpectRefused(const Status& status, const std::string& words) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << words;
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(Allocate, BadInputIsRefused) {
  const Lists lists = {{.5f, .4f}, {.4f, .3f}};
  const auto layers = Layers(lists);
  ExpectRefused(AllocateTotal({}, 0, 1).status(), "no layer to plan for");
  ExpectRefused(AllocateRetention({}, 0, .5).status(), "no layer to plan for");
  ExpectRefused(AllocateTotal(layers, 1, 1).status(), "total 1 < 2, the minimum of 1 for each of 2 layers");
  ExpectRefused(AllocateTotal(layers, 0, -1).status(), "total -1 < 0");
  ExpectRefused(AllocateTotal(layers, -1, 1).status(), "minimum of -1 units");
  ExpectRefused(AllocateTotals(layers, 0, Units{2, 1}).status(), "do not ascend");
  for (const double rho : {0.0, -0.5, 1.0001, std::nan("")}) {
    ExpectRefused(AllocateRetention(layers, 0, rho).status(), "outside (0, 1]");
  }
  const float inf = std::numeric_limits<float>::infinity();
  for (const auto& bad : {std::vector<float>{.1f, .2f}, {NAN}, {.1f, NAN}, {inf}, {.1f, -.1f}}) {
    ExpectRefused(AllocateTotal(Layers({{.5f}, bad}), 0, 1).status(), "layer 1: gain ");
  }
  std::vector<LayerGains> changed = layers;
  changed[1].cost = 0;
  ExpectRefused(AllocateTotal(changed, 0, 1).status(), "layer 1: cost 0 < 1");
  changed[1].cost = std::numeric_limits<int64_t>::max();
  ExpectRefused(AllocateTotal(changed, 0, 1).status(), "2^62");
  changed[1] = {.gains = lists[1], .start = NAN};
  ExpectRefused(AllocateTotal(changed, 0, 1).status(), "layer 1: retention starts at nan");
}

}  // namespace
}  // namespace arkvale
