// The worked example 10.2 of the algorithms and the table of 3.3.
#include "kv/evict.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace arkvale {
namespace {

std::vector<PageState> Resident(int32_t n_pages, std::vector<int32_t> pages) {
  std::vector<PageState> states(n_pages, PageState::kEvicted);
  for (const int32_t p : pages) states[p] = PageState::kResident;
  return states;
}

// R_new by applying a plan to the states.
std::vector<int32_t> Apply(std::vector<PageState> states, const ResidencyPlan& plan) {
  for (const int32_t p : plan.evictions) {
    EXPECT_TRUE(IsHot(states[p]));
    states[p] = PageState::kEvicted;
  }
  for (const int32_t p : plan.recalls) {
    EXPECT_FALSE(IsHot(states[p]));
    states[p] = PageState::kResident;
  }
  std::vector<int32_t> hot;
  for (int32_t p = 0; p < static_cast<int32_t>(states.size()); ++p) {
    if (IsHot(states[p])) hot.push_back(p);
  }
  return hot;
}

using Pages = std::vector<int32_t>;

const PageBudget kBudget{.pages = 5, .topk = 1, .sinks = 1, .window = 2};
const std::vector<float> kHeads = {10, 6, 1, 5, 7, 8, 0, 2, 4, 3};  // heads A, B; pages 0..4

struct CombineCase {
  CombineKind kind;
  std::vector<float> scores;
  Pages selected, recalls, evictions, resident;
};

class Example102 : public ::testing::TestWithParam<CombineCase> {};

TEST_P(Example102, OneStepOfSixPages) {
  const CombineCase& c = GetParam();
  std::vector<float> scores(5), scratch(5);
  CombineScores({.kind = c.kind, .head_scores = kHeads, .n_heads = 2, .scale = 0.5f}, scores, scratch);
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(scores[i], c.scores[i], 1e-6) << i;
  const auto states = Resident(6, {0, 1, 2, 4, 5});
  ResidencyPlan plan;
  PlanStep({.budget = kBudget, .states = states, .ranking = {scores}}, plan);
  EXPECT_EQ(plan.selected, c.selected);
  EXPECT_EQ(plan.recalls, c.recalls);
  EXPECT_EQ(plan.evictions, c.evictions);
  EXPECT_EQ(Apply(states, plan), c.resident);
}

INSTANTIATE_TEST_SUITE_P(
    Combines, Example102,
    ::testing::Values(CombineCase{CombineKind::kMean, {9, 3, 1.5, 4.5, 5}, {3}, {3}, {2}, {0, 1, 3, 4, 5}},
                      CombineCase{CombineKind::kMax, {10, 6, 2, 5, 7}, {1}, {}, {}, {0, 1, 2, 4, 5}},
                      CombineCase{CombineKind::kSoftmaxMean,
                                  {.733380f, .053738f, .023191f, .080911f, .108780f},
                                  {3},
                                  {3},
                                  {2},
                                  {0, 1, 3, 4, 5}}));

TEST(PlanStep, TieGoesToTheSmallerPage) {
  ResidencyPlan plan;
  const auto states = Resident(6, {0, 1, 2, 4, 5});
  PlanStep({.budget = kBudget, .states = states, .ranking = {std::vector<float>{9, 3, 1, 3, 5}}}, plan);
  EXPECT_EQ(plan.selected, Pages{1});
}

TEST(PlanStep, NanRanksLast) {
  ResidencyPlan plan;
  const auto states = Resident(6, {0, 1, 2, 4, 5});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  PlanStep({.budget = kBudget, .states = states, .ranking = {std::vector<float>{9, nan, -5, nan, 5}}}, plan);
  EXPECT_EQ(plan.selected, Pages{2});
}

struct TurnCase {
  std::vector<float> candidates;  // scores of pages 1..4
  WindowExit exit;
  Pages selected, recalls, evictions, resident;
};

class PageTurn : public ::testing::TestWithParam<TurnCase> {};

TEST_P(PageTurn, SeventhPageOpens) {
  const TurnCase& c = GetParam();
  std::vector<float> scores = {9};
  scores.insert(scores.end(), c.candidates.begin(), c.candidates.end());
  scores.push_back(0);
  // Page 6 has just opened in the spare slot.
  const auto states = Resident(7, {0, 1, 3, 4, 5, 6});
  ResidencyPlan plan;
  PlanStep({.budget = kBudget, .states = states, .ranking = {scores}, .window_exit = c.exit, .page_opened = true},
           plan);
  EXPECT_EQ(plan.selected, c.selected);
  EXPECT_EQ(plan.recalls, c.recalls);
  EXPECT_EQ(plan.evictions, c.evictions);
  EXPECT_EQ(Apply(states, plan), c.resident);
}

INSTANTIATE_TEST_SUITE_P(Exits, PageTurn,
                         ::testing::Values(TurnCase{{3, 1, 2, 4}, WindowExit::kRank, {4}, {}, {3}, {0, 1, 4, 5, 6}},
                                           TurnCase{{3, 1, 2, 4}, WindowExit::kDrop, {4}, {4}, {4, 3}, {0, 1, 4, 5, 6}},
                                           TurnCase{{3, 1, 2, 2.5}, WindowExit::kRank, {1}, {}, {3}, {0, 1, 4, 5, 6}},
                                           TurnCase{{3, 1, 2, 2.5}, WindowExit::kDrop, {1}, {}, {4}, {0, 1, 3, 5, 6}}));

TEST(PlanStep, DropOnlyWhenAPageOpened) {
  ResidencyPlan plan;
  const auto states = Resident(7, {0, 1, 4, 5, 6});
  PlanStep({.budget = kBudget,
            .states = states,
            .ranking = {std::vector<float>{9, 3, 1, 2, 2.5f, 0}},
            .window_exit = WindowExit::kDrop},
           plan);
  EXPECT_EQ(plan.evictions, Pages{});
}

TEST(PlanAfterPrefill, KeepsPinsAndTheBestCandidates) {
  ResidencyPlan plan;
  const auto states = Resident(8, {0, 1, 2, 3, 4, 5, 6, 7});
  PlanAfterPrefill({.budget = kBudget, .states = states, .ranking = {std::vector<float>{0, 1, 5, 2, 4, 3, 9}}}, plan);
  EXPECT_EQ(plan.selected, (Pages{2, 4}));
  EXPECT_EQ(Apply(states, plan), (Pages{0, 2, 4, 6, 7}));
}

TEST(PlanStep, RecallsPinnedPagesThatAPrefillPushedOut) {
  ResidencyPlan plan;
  const auto states = Resident(7, {2, 3, 4, 5, 6});
  PlanStep({.budget = kBudget, .states = states, .ranking = {std::vector<float>{0, 1, 5, 2, 4, 3}}}, plan);
  EXPECT_EQ(Apply(states, plan), (Pages{0, 2, 4, 5, 6}));
}

// k_nom / k of section 3.3 for two sinks and a window of two.
TEST(MakePageBudget, PaperTable) {
  const int64_t budgets[] = {512, 1024, 2048, 4096};
  const int32_t pages[] = {8, 16, 32, 64};
  const int32_t expected[4][4] = {{29, 61, 125, 157}, {13, 29, 61, 77}, {5, 13, 29, 37}, {1, 5, 13, 17}};
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      KvOptions o;
      o.budget_tokens = budgets[j];
      o.page_tokens = pages[i];
      o.topk.kind = TopkRule::Kind::kPaper;
      EXPECT_EQ(MakePageBudget(o, 5, true).topk, expected[i][j]) << "p " << pages[i] << " c " << budgets[j];
      o.topk.kind = TopkRule::Kind::kAuto;
      EXPECT_EQ(MakePageBudget(o, 5, false).topk, expected[i][j]) << "auto where bytes move";
      EXPECT_EQ(MakePageBudget(o, 5, true).topk, budgets[j] / pages[i] - 4) << "auto in place: every free place";
    }
  }
}

TEST(MakePageBudget, LayersOfTheirOwn) {
  KvOptions o;
  o.budget_tokens = 1024;
  o.dense_layers = 2;
  o.layer_budget_tokens = {0, 0, 512, 0};
  o.layer_topk_pages = {0, 0, 0, 9};
  EXPECT_EQ(MakePageBudget(o, 0, true).pages, 0) << "dense";
  EXPECT_EQ(MakePageBudget(o, 2, true).pages, 16);
  EXPECT_EQ(MakePageBudget(o, 3, true).pages, 32);
  EXPECT_EQ(MakePageBudget(o, 3, true).topk, 9 - 2 - 1);
  o.policy = KvPolicyKind::kFull;
  EXPECT_EQ(MakePageBudget(o, 3, true).pages, 0);
}

}  // namespace
}  // namespace arkvale
