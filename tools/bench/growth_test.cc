#include "tools/bench/growth.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

Measured At(const std::string& name, double ms) {
  Measured m;
  m.name = name;
  m.samples_ms = {{ms, ms}, {ms}};
  return m;
}

// Full attention takes 2 ms and 1 ms more per 1000 tokens, the budget 3 ms throughout.
GrowthLog Filled(const std::vector<int64_t>& depths, int32_t batch) {
  GrowthLog log;
  for (const int64_t depth : depths) {
    const std::vector<Measured> cell = {At(kFullName, 2 + static_cast<double>(depth) * 1e-3), At("arkvale 1024", 3)};
    log.Add({.n_tokens = depth, .batch = batch}, cell, Ratios(cell));
  }
  return log;
}

TEST(Growth, SlopeRatioAndCrossover) {
  const auto growths = Filled({500, 1000, 2000, 8000}, 4).Result();
  ASSERT_EQ(growths.size(), 2u);
  EXPECT_EQ(growths[0].name, kFullName);
  EXPECT_EQ(growths[0].batch, 4);
  EXPECT_NEAR(growths[0].decode_us_per_1k_tokens, 1000, 1e-6);
  EXPECT_DOUBLE_EQ(growths[0].last_to_first, 10 / 2.5);
  EXPECT_FALSE(growths[0].crossover_tokens);
  EXPECT_NEAR(growths[1].decode_us_per_1k_tokens, 0, 1e-9);
  EXPECT_EQ(growths[1].last_to_first, 1);
  EXPECT_EQ(growths[1].crossover_tokens, 2000) << "at 1000 both take 3 ms";
}

TEST(Growth, TwoDepthsAreNoLineAndADepthCountsOnce) {
  EXPECT_TRUE(Filled({500, 1000}, 1).Result().empty());
  EXPECT_TRUE(Filled({500, 1000, 1000}, 1).Result().empty());
}

TEST(Growth, PrefillIsNotPartOfIt) {
  GrowthLog log;
  for (const int64_t n : {1, 2, 3}) log.Add({.decode = false, .n_tokens = n}, {At(kFullName, 1)}, {});
  EXPECT_TRUE(log.Result().empty());
}

}  // namespace
}  // namespace arkvale::tools
