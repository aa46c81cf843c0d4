#include "tools/eval/page_metrics.h"

#include <gtest/gtest.h>

#include <limits>

namespace arkvale::tools {
namespace {

using Pages = std::vector<int32_t>;

TEST(RankPages, HigherFirstThenTheLowerPageAndNanLast) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values = {1, 3, kNan, 3, 2};
  EXPECT_EQ(RankPages(values), (Pages{1, 3, 4, 0, 2}));
  EXPECT_EQ(PageRanks(values), (Pages{3, 0, 4, 1, 2}));
  EXPECT_EQ(RankPages({}), Pages{});
}

// Algorithms 10.5.
TEST(RecallHits, WorkedExample) {
  const Pages truth = {0, 4, 2, 1, 3, 5}, estimated = {0, 2, 5, 1, 4, 3};
  EXPECT_EQ(RecallHits(truth, estimated, 3), (Pages{1, 1, 2}));
  EXPECT_EQ(RecallHits(truth, estimated, 6), (Pages{1, 1, 2, 3, 4, 6}));
}

TEST(RecallHits, EndsWithThePages) {
  const Pages truth = {1, 0}, estimated = {0, 1};
  EXPECT_EQ(RecallHits(truth, estimated, 40), (Pages{0, 2}));
  EXPECT_TRUE(RecallHits({}, {}, 40).empty());
}

// Algorithms 10.5: pages of (key, mass).
PageMass ExamplePages() { return {{.40f, .05f, .20f, .03f, .02f}, {.50, .20, .22, .05, .03}}; }

TEST(PagesForMass, WorkedExample) {
  const PageMass pages = ExamplePages();
  EXPECT_EQ(RankPages(pages.key), (Pages{0, 2, 1, 3, 4}));
  EXPECT_EQ(PagesForMass(pages, .90), 3);
  EXPECT_EQ(PagesForMass(pages, .99), 5);
  EXPECT_DOUBLE_EQ(1 - PagesForMass(pages, .90) / 5.0, .4);
  EXPECT_DOUBLE_EQ(1 - PagesForMass(pages, .99) / 5.0, 0);
  EXPECT_EQ(PagesForMass(pages, .50), 1);
  EXPECT_EQ(PagesForMass(pages, .72), 2);
  EXPECT_EQ(PagesForMass(pages, 2), 5) << "never reached";
}

TEST(SumPages, TheFillingPageCounts) {
  const PageMass pages = SumPages(std::vector<float>{.25f, .125f, .0625f, .25f, .3125f}, 2);
  EXPECT_EQ(pages.key, (std::vector<float>{.25f, .25f, .3125f}));
  EXPECT_EQ(pages.mass, (std::vector<double>{.375, .3125, .3125}));
  EXPECT_EQ(PagesForMass(pages, .6), 2) << "the last page, then page 0: equal keys, the lower page first";
}

TEST(LargestSum, OfAtMostAllValues) {
  const std::vector<double> values = {1, 8, 2, 4};
  EXPECT_EQ(LargestSum(values, 2), 12);
  EXPECT_EQ(LargestSum(values, 9), 15);
  EXPECT_EQ(LargestSum(values, 0), 0);
}

TEST(MeasureDynamics, ChurnIsTheShareThatCameNew) {
  // Best two: {0, 1}, {0, 2}, {0, 2}, then page 3 opens and is best: {3, 0}.
  const std::vector<Pages> ranks = {{0, 1, 2}, {0, 2, 1}, {1, 2, 0}, {1, 3, 2, 0}};
  const Dynamics d = MeasureDynamics(ranks, 2, 2);
  EXPECT_DOUBLE_EQ(d.churn, (1.0 + 0 + 1) / 6);
  EXPECT_EQ(d.revival, 0) << "no step has the history";
  EXPECT_EQ(MeasureDynamics({}, 2, 2).churn, 0);
}

TEST(MeasureDynamics, RevivalAsksForAllSixteenStepsBefore) {
  const Pages cold = {0, 1, 2, 3}, revived = {0, 3, 2, 1};
  std::vector<Pages> ranks(kRevivalSteps, cold);
  ranks.push_back(revived);
  EXPECT_DOUBLE_EQ(MeasureDynamics(ranks, 2, 3).revival, 1);
  EXPECT_DOUBLE_EQ(MeasureDynamics(ranks, 2, 4).revival, 0) << "it was within b";
  ranks.push_back(revived);
  EXPECT_DOUBLE_EQ(MeasureDynamics(ranks, 2, 3).revival, 0.5) << "a mean over two steps; it is warm in the second";
  ranks[3] = revived;
  EXPECT_DOUBLE_EQ(MeasureDynamics(ranks, 2, 3).revival, 0);
}

}  // namespace
}  // namespace arkvale::tools
