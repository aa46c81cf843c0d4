#include "plan/average.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace arkvale {
namespace {

using Units = std::vector<int64_t>;
using Plans = std::vector<Units>;

TEST(Average, WorkedExample) {
  const Plans plans = {{3, 1, 2}, {2, 1, 3}};
  EXPECT_EQ(*MeanOfTotalPlans(plans), (Units{3, 1, 2}));
  EXPECT_EQ(*MeanOfRetentionPlans(plans), (Units{2, 1, 2}));
}

TEST(Average, HalvesGoToEven) {
  EXPECT_EQ(*MeanOfRetentionPlans(Plans{{0, 1, 2, 3}, {1, 2, 3, 4}}), (Units{0, 2, 2, 4}));
  EXPECT_EQ(*MeanOfRetentionPlans(Plans{{1, 1}, {1, 2}, {2, 2}}), (Units{1, 2}));
}

TEST(Average, OfOnePlanIsThePlan) {
  const Plans plans = {{7, 0, 3}};
  EXPECT_EQ(*MeanOfTotalPlans(plans), plans[0]);
  EXPECT_EQ(*MeanOfRetentionPlans(plans), plans[0]);
}

TEST(Average, OfTotalsKeepsTheTotalAndStaysNearTheMean) {
  Rng rng("plan/average");
  for (int round = 0; round < 500; ++round) {
    const size_t n_layers = 1 + rng.Below(12), n_plans = 1 + rng.Below(9);
    const auto total = static_cast<int64_t>(rng.Below(200));
    Plans plans(n_plans, Units(n_layers, 0));
    for (Units& plan : plans) {
      for (int64_t i = 0; i < total; ++i) ++plan[rng.Below(n_layers)];
    }
    const auto mean = MeanOfTotalPlans(plans), rounded = MeanOfRetentionPlans(plans);
    ASSERT_TRUE(mean.ok() && rounded.ok());
    EXPECT_EQ(std::accumulate(mean->begin(), mean->end(), int64_t{0}), total);
    for (size_t l = 0; l < n_layers; ++l) {
      double sum = 0;
      for (const Units& plan : plans) sum += static_cast<double>(plan[l]);
      EXPECT_LT(std::abs(static_cast<double>((*mean)[l]) - sum / static_cast<double>(n_plans)), 1.0);
      EXPECT_EQ((*rounded)[l], std::nearbyint(sum / static_cast<double>(n_plans)));
    }
  }
}

TEST(Average, LargestFractionsFirst) {
  // Means 1/4, 3/4, 2/4, 2/4, 0: two are missing.
  EXPECT_EQ(*MeanOfTotalPlans(Plans{{1, 0, 1, 0, 0}, {0, 1, 1, 0, 0}, {0, 1, 0, 1, 0}, {0, 1, 0, 1, 0}}),
            (Units{0, 1, 1, 0, 0}));
}

TEST(Average, OfUnequalSumsIsNotMoreThanTheirMean) {
  EXPECT_EQ(*MeanOfTotalPlans(Plans{{3, 1}, {2, 1}}), (Units{2, 1}));
}

TEST(Average, BadPlansAreRefused) {
  for (const Plans& bad : {Plans{}, Plans{{1, 2}, {1}}, Plans{{1, -1}}, Plans{{std::numeric_limits<int64_t>::max()}}}) {
    EXPECT_EQ(MeanOfTotalPlans(bad).status().kind(), StatusKind::kInvalidArgument);
    EXPECT_EQ(MeanOfRetentionPlans(bad).status().kind(), StatusKind::kInvalidArgument);
  }
}

TEST(SampleCount, AsSpecified) {
  EXPECT_EQ(*SampleCount(0.1, 200), 20);
  EXPECT_EQ(*SampleCount(0.1, 201), 21);
  EXPECT_EQ(*SampleCount(0.1, 30), 3);  // 0.1 * 30 > 3 in binary
  EXPECT_EQ(*SampleCount(0.07, 100), 7);
  EXPECT_EQ(*SampleCount(0.1, 3), 1);
  EXPECT_EQ(*SampleCount(1e-12, 5), 1);
  EXPECT_EQ(*SampleCount(1.0, 7), 7);
  for (const double bad : {0.0, -0.1, 1.1, std::nan("")}) EXPECT_FALSE(SampleCount(bad, 10).ok()) << bad;
  EXPECT_FALSE(SampleCount(0.1, 0).ok());
  EXPECT_FALSE(SampleCount(0.1, -3).ok());
}

}  // namespace
}  // namespace arkvale
