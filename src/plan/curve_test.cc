#include "plan/curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace arkvale {
namespace {

std::vector<float> Gains(std::vector<LossPoint> points, int64_t most) {
  auto gains = CurveGains(points, most);
  EXPECT_TRUE(gains.ok()) << gains.status().ToString();
  return gains.ok() ? *gains : std::vector<float>();
}

// 16 / units from 2 on, and nothing left out at 16.
TEST(CurveGains, FollowAPowerLawBetweenThePoints) {
  const auto gains = Gains({{2, 8}, {8, 2}}, 16);
  EXPECT_FLOAT_EQ(gains[0], 16.F / 2 - 16.F / 3);
  EXPECT_FLOAT_EQ(gains[1], gains[0]);
  for (size_t u = 2; u < 8; ++u)
    EXPECT_FLOAT_EQ(gains[u], 16.F / static_cast<float>(u) - 16.F / static_cast<float>(u + 1));
  for (size_t u = 8; u < 16; ++u) EXPECT_FLOAT_EQ(gains[u], 2.F / 8);
}

TEST(CurveGains, LeaveOutWhatLiesAboveTheHull) {
  // A loss that grows with the size is noise: it counts as the one before.
  EXPECT_EQ(Gains({{2, 1}, {4, 3}}, 6), (std::vector<float>(6, .25F)));
  // Hardly less at 6 and much less at 7.
  const auto gains = Gains({{2, 8}, {6, 7.5}, {7, 1}}, 10);
  EXPECT_EQ(gains, (std::vector<float>{1.4F, 1.4F, 1.4F, 1.4F, 1.4F, 1.4F, 1.4F, 1.F / 3, 1.F / 3, 1.F / 3}));
}

TEST(CurveGains, WithoutALossAreNone) {
  EXPECT_EQ(Gains({{1, 0}, {2, -1e-9}}, 4), std::vector<float>(4));
  EXPECT_EQ(Gains({{2, 4}, {4, 0}}, 6), (std::vector<float>{2, 2, 2, 2, 0, 0}));
}

TEST(CurveGains, PointsFromTheEndOnDoNotCount) { EXPECT_EQ(Gains({{2, 4}, {6, 1}, {9, 7}}, 6), Gains({{2, 4}}, 6)); }

TEST(CurveGains, NeverIncreaseAndAddUpToTheFirstLoss) {
  Rng rng("curve");
  for (int round = 0; round < 200; ++round) {
    std::vector<LossPoint> points;
    int64_t units = 0;
    for (int i = 0; i < 6; ++i) {
      units += 1 + static_cast<int64_t>(rng.Below(20));
      points.push_back({units, static_cast<double>(rng.Below(1000)) / 64});
    }
    const auto gains = Gains(points, units + 10);
    EXPECT_TRUE(std::is_sorted(gains.rbegin(), gains.rend()));
    EXPECT_GE(gains.back(), 0);
    const double sum = std::accumulate(gains.begin() + points[0].units, gains.end(), 0.0);
    EXPECT_NEAR(sum, points[0].loss, 1e-4);
  }
}

TEST(CurveGains, RefuseWhatIsNoCurve) {
  const auto fails = [](std::vector<LossPoint> points, int64_t most) { return !CurveGains(points, most).ok(); };
  EXPECT_TRUE(fails({}, 8));
  EXPECT_TRUE(fails({{8, 1}}, 8));
  EXPECT_TRUE(fails({{0, 1}}, 8));
  EXPECT_TRUE(fails({{4, 1}, {4, 1}}, 8));
  EXPECT_TRUE(fails({{4, std::numeric_limits<double>::quiet_NaN()}}, 8));
  EXPECT_TRUE(fails({{4, std::numeric_limits<double>::infinity()}}, 8));
}

}  // namespace
}  // namespace arkvale
