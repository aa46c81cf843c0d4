#include "tools/plan/make_plan.h"

#include <gtest/gtest.h>

#include <numeric>

namespace arkvale::tools {
namespace {

// The three layers of algorithms 10.3; windows of 8 tokens.
const MeasuredGains kExample = {
    .gains = {{.275F, .275F, .225F, .225F}, {.65F, .15F, .10F, .10F}, {.40F, .30F, .20F, .10F}},
    .start = {0, 0, 0},
    .least_units = 1};

PlanTarget Xkv() {
  PlanTarget target;
  target.layers = {1, 2, 4};
  return target;
}

PlanTarget Pages() {
  PlanTarget target{.kind = PlanKind::kArkvale};
  target.kv.sink_pages = 1;
  target.kv.window_pages = 2;
  target.kv.page_tokens = 16;
  target.layers = {0, 1, 2};
  return target;
}

std::vector<int64_t> Budgets(const MadePlan& plan) {
  std::vector<int64_t> budgets;
  for (const LayerPlan& layer : plan.layers) budgets.push_back(layer.budget_tokens);
  return budgets;
}

MadePlan One(const PlanTarget& target, std::vector<MeasuredGains> samples, PlanRequest request) {
  auto plans = MakePlans(target, samples, std::vector{request});
  EXPECT_TRUE(plans.ok()) << plans.status().ToString();
  return plans.ok() ? plans->at(0) : MadePlan();
}

TEST(MakePlans, CountWindowsInTheTotal) {
  const MadePlan plan = One(Xkv(), {kExample}, {.total_tokens = 6 + 3 * 8});
  EXPECT_EQ(Budgets(plan), (std::vector<int64_t>{11, 9, 10}));
  EXPECT_EQ(plan.total_tokens, 30);
  ASSERT_EQ(plan.retention.size(), 3U);
  EXPECT_NEAR(plan.retention[0], .775, 1e-6);
  EXPECT_NEAR(plan.mean_retention(), 2.125 / 3, 1e-6);
  // Equal budgets: 2 of each retain 2.05 of 3, 3 of each 2.575.
  EXPECT_NEAR(plan.saved_vs_uniform, 1 - 30.0 / 33, 1e-12);
}

TEST(MakePlans, ReachARetention) {
  const MadePlan plan = One(Xkv(), {kExample}, {.retention = .8});
  EXPECT_EQ(Budgets(plan), (std::vector<int64_t>{12, 9, 11}));
  EXPECT_NEAR(plan.mean_retention(), .85, 1e-6);
}

// Each sample alone gives (3, 1, 2) and (2, 1, 3).
TEST(MakePlans, AverageThePlansOfTheSamples) {
  MeasuredGains other = kExample;
  std::swap(other.gains[0], other.gains[2]);
  other.gains[0] = {.275F, .275F, .20F, .20F};
  other.gains[2] = {.275F, .275F, .225F, .225F};
  const auto alone = Budgets(One(Xkv(), {other}, {.total_tokens = 30}));
  EXPECT_EQ(alone, (std::vector<int64_t>{10, 9, 11}));
  EXPECT_EQ(Budgets(One(Xkv(), {kExample, other}, {.total_tokens = 30})), (std::vector<int64_t>{11, 9, 10}));
}

TEST(MakePlans, GivePagesBesideSinksAndWindow) {
  MeasuredGains gains = kExample;
  gains.start = {.5, .2, .1};
  gains.least_units = 2;
  // 7 candidate pages and 3 pinned ones a layer.
  const MadePlan plan = One(Pages(), {gains}, {.total_tokens = (7 + 9) * 16});
  EXPECT_EQ(Budgets(plan), (std::vector<int64_t>{6 * 16, 5 * 16, 5 * 16}));
  EXPECT_NEAR(plan.retention[0], .5 + .775, 1e-6);
  EXPECT_EQ(UniformLayers(Pages(), plan)[2].budget_tokens, 5 * 16);
  EXPECT_EQ(plan.layers[0].topk_pages, 0);
}

TEST(MakePlans, RefuseATotalBelowTheMinimum) {
  const auto message = [](const PlanTarget& target, int64_t total) {
    return MakePlans(target, std::vector{kExample}, std::vector{PlanRequest{.total_tokens = total}}).status().message();
  };
  EXPECT_TRUE(message(Xkv(), 26).starts_with("total of 26 tokens for 3 layers: use at least 27"));
  EXPECT_EQ(message(Xkv(), 27), "");
  EXPECT_TRUE(message(Pages(), 14 * 16).starts_with("total of 224 tokens for 3 layers: use at least 240, 80 "));
}

TEST(CheckTotals, FindsTheTotalThatIsTooSmall) {
  const auto ok = [](int64_t total) {
    return CheckTotals(Xkv(),
                       std::vector<PlanRequest>{{.total_tokens = 900}, {.retention = .5}, {.total_tokens = total}})
        .ok();
  };
  EXPECT_TRUE(ok(27));
  EXPECT_FALSE(ok(26));
}

TEST(PlanOfLayers, LeavesOutWhatIsNotManaged) {
  const KvPlan plan = PlanOfLayers(Xkv(), std::vector<LayerPlan>{{10, 0}, {11, 0}, {12, 0}}, 6);
  EXPECT_EQ(plan.kind, PlanKind::kXkv);
  EXPECT_EQ(plan.page_tokens, 1);
  EXPECT_EQ(plan.window_tokens, 8);
  const auto& layers = plan.layers;
  ASSERT_EQ(layers.size(), 6U);
  EXPECT_FALSE(layers[0].has_value());
  EXPECT_EQ(layers[1]->budget_tokens, 10);
  EXPECT_EQ(layers[4]->budget_tokens, 12);
  EXPECT_FALSE(layers[5].has_value());
  EXPECT_EQ(PlanOfLayers(Pages(), {}, 3).page_tokens, 16);
}

TEST(KlSizes, AreAFactorOf2ApartWithinTheContext) {
  // 48 tokens are pinned.
  EXPECT_EQ(KlSizes(Pages(), 512, 512, 100000), (std::vector<int64_t>{5, 13, 29, 61, 125}));
  EXPECT_EQ(KlSizes(Pages(), 512, 1024, 1000), (std::vector<int64_t>{5, 13, 29}));
  EXPECT_EQ(KlSizes(Pages(), 64, 64, 1000), (std::vector<int64_t>{2, 5, 13}));
  EXPECT_TRUE(KlSizes(Pages(), 512, 512, 60).empty());
  EXPECT_EQ(KlSizes(Pages(), 1, 1, 1000), (std::vector<int64_t>{2}));
}

TEST(GainsOfLosses, AreThoseOfTheMean) {
  const LayerLosses a = {{{2, 8}, {4, 2}}, {{2, 1}, {4, .5}}},
                    b = {{{2, 4}, {4, 0}, {8, 0}}, {{2, 3}, {4, 1.5}, {8, 1}}};
  const auto gains = GainsOfLosses(std::vector{a, b}, 6);
  ASSERT_TRUE(gains.ok());
  EXPECT_EQ(gains->least_units, 2);
  EXPECT_EQ(gains->gains[0], CurveGains(std::vector<LossPoint>{{2, 6}, {4, 1}}, 6).value());
  EXPECT_EQ(gains->gains[1], CurveGains(std::vector<LossPoint>{{2, 2}, {4, 1}}, 6).value());
}

}  // namespace
}  // namespace arkvale::tools
