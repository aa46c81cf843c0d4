#include "base/quantile.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

TEST(Quantile, InterpolatesBetweenSortedValues) {
  const std::vector<double> v = {0.4, 0.1, 1.0, 0.3, 0.2};
  EXPECT_NEAR(Quantile(v, 0.9), 0.76, 1e-12);
  EXPECT_DOUBLE_EQ(Median(v), 0.3);
  EXPECT_DOUBLE_EQ(Quantile(v, 0), 0.1);
  EXPECT_DOUBLE_EQ(Quantile(v, 1), 1.0);
  EXPECT_DOUBLE_EQ(Median(std::vector<double>{7}), 7);
  EXPECT_DOUBLE_EQ(Median({}), 0);
}

}  // namespace
}  // namespace arkvale
