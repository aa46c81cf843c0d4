#include "tools/eval/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tools/eval/fidelity_stats.h"

namespace arkvale::tools {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Result<StepFidelity> Compare(const std::vector<float>& policy, const std::vector<float>& dense, int32_t next_id) {
  DenseStep step;
  ARKVALE_RETURN_IF_ERROR(step.Set(dense));
  return step.Compare(policy, next_id);
}

// Vectors of the evaluation protocol, section 10.
TEST(Divergence, KlMatchesPublishedValues) {
  const auto kl = [](const std::vector<float>& policy, const std::vector<float>& dense) {
    const auto step = Compare(policy, dense, 0);
    EXPECT_TRUE(step.ok()) << step.status().ToString();
    return step.ok() ? step->kl : -1;
  };
  EXPECT_NEAR(kl({0, std::log(3.0f)}, {0, 0}), 0.143841036226, 1e-8) << "ln 3 is rounded to f32 here";
  EXPECT_NEAR(kl({1000, 998.5, 0}, {1000, 999, -1000}), 0.022622301150, 1e-12);
  EXPECT_NEAR(kl({1, 2, 2.5}, {1, 2, 3}), 0.029145118780, 1e-12);
  EXPECT_EQ(kl({1, 2, 3}, {1, 2, 3}), 0) << "equal logits are exactly equal";
}

TEST(Divergence, NextTokenAndTopToken) {
  const auto step = Compare({0, 0}, {0, std::log(3.0f)}, 1);
  ASSERT_TRUE(step.ok());
  EXPECT_NEAR(step->nll, std::log(2.0), 1e-7);
  EXPECT_NEAR(step->nll_dense, std::log(4.0 / 3), 1e-7);
  EXPECT_NEAR(step->dp, 0.5 - 0.75, 1e-7);
  EXPECT_FALSE(step->same_top) << "the lowest id wins a tie";
  EXPECT_TRUE(step->clear);
  const auto close = Compare({1, 0.9f}, {1, 0.9f}, 0);  // 0.525 against 0.475
  ASSERT_TRUE(close.ok());
  EXPECT_TRUE(close->same_top);
  EXPECT_FALSE(close->clear);
}

TEST(Divergence, NllOfTheNextToken) {
  EXPECT_NEAR(*NextTokenNll(std::vector<float>{0, std::log(3.0f)}, 0), std::log(4.0), 1e-7);
  EXPECT_NEAR(*NextTokenNll(std::vector<float>{1000, 1000, -kInfinity}, 1), std::log(2.0), 1e-12);
  EXPECT_FALSE(NextTokenNll(std::vector<float>{0, -kInfinity}, 1).ok());
  EXPECT_FALSE(NextTokenNll(std::vector<float>{0, std::numeric_limits<float>::quiet_NaN()}, 0).ok());
}

TEST(Divergence, RefusesLogitsThatMeanNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& bad : std::vector<std::vector<float>>{
           {nan, 0, 0}, {0, nan, 0}, {kInfinity, 0, 0}, {-kInfinity, -kInfinity, -kInfinity}}) {
    EXPECT_EQ(Compare(bad, {0, 0, 0}, 0).status().kind(), StatusKind::kInternal);
    EXPECT_EQ(Compare({0, 0, 0}, bad, 0).status().kind(), StatusKind::kInternal);
  }
  EXPECT_EQ(Compare({0, -kInfinity}, {0, -1000}, 0).status().kind(), StatusKind::kInternal) << "even where p is 0";
  const auto both = Compare({0, 1, -kInfinity}, {0, 1, -kInfinity}, 0);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->kl, 0);
}

StepFidelity Step(double kl, double nll = 1, double nll_dense = 1, bool same_top = true, bool clear = false) {
  return {.kl = kl, .nll = nll, .nll_dense = nll_dense, .same_top = same_top, .clear = clear};
}

TEST(FidelityStats, PerplexityRatioMatchesPublishedValue) {
  const std::vector<WindowSteps> windows = {{Step(0, 1.1, 1), Step(0, 2.0, 2)}, {Step(0, 3.2, 3)}};
  const FidelitySummary s = Summarise(windows);
  EXPECT_NEAR(s.ppl_ratio, 1.105170918, 1e-9);
  EXPECT_NEAR(s.ppl_ratio_se / s.ppl_ratio, 0.057735027, 1e-9);
  EXPECT_NEAR(s.ppl, std::exp(2.1), 1e-12);
  EXPECT_NEAR(s.ppl_dense, std::exp(2.0), 1e-12);
}

TEST(FidelityStats, MeansOfWindowsAndBlocks) {
  WindowSteps growing;
  for (int j = 0; j < 130; ++j) growing.push_back(Step(j < 64 ? 1 : 2, 1, 1, j != 7, j < 10));
  const std::vector<WindowSteps> windows = {growing, WindowSteps(130, Step(3))};
  const FidelitySummary s = Summarise(windows);
  EXPECT_EQ(s.n_windows, 2);
  EXPECT_EQ(s.n_steps, 260);
  ASSERT_EQ(s.kl_windows.size(), 2u);
  EXPECT_NEAR(s.kl_windows[0], (64 + 2 * 66) / 130.0, 1e-12);
  EXPECT_EQ(s.kl_windows[1], 3);
  ASSERT_EQ(s.kl_blocks.size(), 3u);
  EXPECT_NEAR(s.kl_blocks[0], 2, 1e-12);
  EXPECT_NEAR(s.kl_blocks[2], 2.5, 1e-12);
  EXPECT_NEAR(s.kl_mean, (s.kl_windows[0] + 3) / 2, 1e-12);
  EXPECT_EQ(s.kl_max, 3);
  EXPECT_FALSE(s.kl_p999.has_value());
  EXPECT_NEAR(s.same_top, 259 / 260.0, 1e-12);
  EXPECT_NEAR(*s.same_top_clear, 0.9, 1e-12);
  EXPECT_EQ(s.same_answer, 0.5);
  EXPECT_LE(s.kl_interval.lo, s.kl_mean);
  EXPECT_GE(s.kl_interval.hi, s.kl_mean);
}

TEST(FidelityStats, NoStepsAndTheFloor) {
  EXPECT_EQ(Summarise({}).n_steps, 0);
  EXPECT_TRUE(AtFloor(0, 0));
  EXPECT_TRUE(AtFloor(2.9e-11, 1e-11));
  EXPECT_FALSE(AtFloor(3.1e-11, 1e-11));
}

}  // namespace
}  // namespace arkvale::tools
