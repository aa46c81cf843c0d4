#include "tools/eval/fit_size.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

TEST(FitSize, FindsTheLargest) {
  const auto three_each = [](int64_t size) { return Result<int64_t>(3 * size); };
  for (int64_t limit = 15; limit < 320; ++limit) {
    EXPECT_EQ(*LargestSizeThatFits(5, 100, limit, three_each), std::min<int64_t>(100, limit / 3)) << limit;
  }
  EXPECT_EQ(*LargestSizeThatFits(5, 100, 3, three_each), 5) << "not looked at";
  EXPECT_EQ(*LargestSizeThatFits(5, 2, 30, three_each), 5) << "nothing between";
}

TEST(FitSize, FailsWhereCountingDoes) {
  const auto fails = [](int64_t) { return Result<int64_t>(Internal("no count")); };
  EXPECT_EQ(LargestSizeThatFits(0, 9, 9, fails).status().message(), "no count");
}

}  // namespace
}  // namespace arkvale::tools
