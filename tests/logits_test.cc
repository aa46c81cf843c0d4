#include "tests/logits.h"

#include <gtest/gtest.h>

namespace arkvale::testing {
namespace {

// Vectors of evaluation protocol section 10: (policy; dense).
TEST(Kl, PublishedVectors) {
  const float ln3 = std::log(3.0f);
  EXPECT_NEAR(Kl(std::vector<float>{0, 0}, std::vector<float>{0, ln3}), 0.143841036226, 1e-7);
  EXPECT_NEAR(Kl(std::vector<float>{1000, 999, -1000}, std::vector<float>{1000, 998.5f, 0}), 0.022622301150, 1e-9);
  EXPECT_NEAR(Kl(std::vector<float>{1, 2, 3}, std::vector<float>{1, 2, 2.5f}), 0.029145118780, 1e-9);
}

TEST(ArgMax, TiesGoToTheLowestId) {
  EXPECT_EQ(ArgMax(std::vector<float>{1, 3, 3}), 1);
  EXPECT_EQ(TopGap(std::vector<float>{1, 3, 3}), 0.0f);
}

}  // namespace
}  // namespace arkvale::testing
