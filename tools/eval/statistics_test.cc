#include "tools/eval/statistics.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/quantile.h"

namespace arkvale::tools {
namespace {

// Values of the evaluation protocol, 0.6 and 10.
TEST(Statistics, WilsonMatchesPublishedValues) {
  EXPECT_NEAR(Wilson(19, 20).lo, 0.764, 5e-4);
  EXPECT_NEAR(Wilson(19, 20).hi, 0.991, 5e-4);
  EXPECT_NEAR(Wilson(95, 100).lo, 0.888, 5e-4);
  EXPECT_NEAR(Wilson(95, 100).hi, 0.978, 5e-4);
  EXPECT_NEAR(Wilson(0, 20).lo, 0, 1e-12);
  EXPECT_NEAR(Wilson(20, 20).hi, 1, 1e-12);
  EXPECT_EQ(Wilson(0, 0).hi, 1);
  for (int64_t n = 1; n < 50; ++n) {  // no rounding outside a share's range
    EXPECT_GE(Wilson(0, n).lo, 0) << n;
    EXPECT_LE(Wilson(n, n).hi, 1) << n;
  }
}

TEST(Statistics, PercentileMatchesPublishedValue) {
  EXPECT_NEAR(Quantile(std::vector<double>{0.4, 0.1, 1.0, 0.3, 0.2}, 0.9), 0.76, 1e-12);
}

TEST(Statistics, BootstrapIsReproducibleAndHoldsTheMean) {
  const std::vector<double> values = {0.1, 0.4, 0.2, 0.9, 0.3, 0.5, 0.2, 0.6};
  const Interval a = BootstrapMean(values), b = BootstrapMean(values);
  EXPECT_EQ(a.lo, b.lo);
  EXPECT_EQ(a.hi, b.hi);
  EXPECT_LT(a.lo, 0.4);
  EXPECT_GT(a.hi, 0.4);
  // The normal approximation: mean 0.4 +- 1.96 * 0.2449 / sqrt(8).
  EXPECT_NEAR(a.lo, 0.23, 0.03);
  EXPECT_NEAR(a.hi, 0.57, 0.03);
  const std::vector<double> one = {0.5};
  EXPECT_EQ(BootstrapMean(one).lo, 0.5);
  EXPECT_EQ(BootstrapMean(one).hi, 0.5);
}

// Each extreme has a quarter of the resamples.
TEST(Statistics, BootstrapOfTwoValuesTakesOnlyThreeMeans) {
  const std::vector<double> values = {0.0, 1.0};
  EXPECT_EQ(BootstrapMean(values).lo, 0.0);
  EXPECT_EQ(BootstrapMean(values).hi, 1.0);
}

}  // namespace
}  // namespace arkvale::tools
