#include "kv/select.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kv/evict.h"

namespace arkvale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Pages = std::vector<int32_t>;

std::vector<float> Pinned(const std::vector<float>& heads, std::vector<float> lse, int32_t begin, int32_t end,
                          float scale = 1.0f, float softcap = 0.0f) {
  const auto n_heads = static_cast<int32_t>(lse.size());
  std::vector<float> out(heads.size() / lse.size()), scratch(out.size());
  CombineScores({.kind = CombineKind::kSoftmaxPinned,
                 .head_scores = heads,
                 .n_heads = n_heads,
                 .scale = scale,
                 .softcap = softcap,
                 .begin = begin,
                 .end = end,
                 .pinned_lse = lse},
                out, scratch);
  return out;
}

// Pages 0..4, page 0 a sink and page 4 in the window: candidates 1, 2, 3. Weights e^x by hand, with e^x chosen whole.
TEST(SoftmaxPinned, ByHand) {
  const auto ln = [](double x) { return static_cast<float>(std::log(x)); };
  // Head A: candidates weigh 1, 2, 3 and the pinned tokens 4; head B: 6, 1, 1 and 32.
  const std::vector<float> heads = {ln(50), ln(1), ln(2), ln(3), ln(9), ln(70), ln(6), ln(1), ln(1), ln(8)};
  const auto out = Pinned(heads, {ln(4), ln(32)}, 1, 4);
  // score(P) = (A/10 + B/40) / 2 up to one positive factor.
  const double expected[] = {(0.1 + 0.15) / 2, (0.2 + 0.025) / 2, (0.3 + 0.025) / 2};
  for (int i = 1; i < 4; ++i) EXPECT_NEAR(out[i] / out[1], expected[i - 1] / expected[0], 1e-5) << i;
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[4], 0.0f);
  // softmax-mean would follow head B to page 1; here head A, which looks at candidates, decides for page 3.
  Pages selected;
  SelectPages({.scores = out}, 1, 4, 1, selected);
  EXPECT_EQ(selected, Pages{3});
}

TEST(SoftmaxPinned, ScaleAndSoftcapAreThoseOfTheAttention) {
  // scale 0.5 and a cap of 2: scores 2 tanh(x / 4).
  const auto out = Pinned({4, 1, -3}, {0.25f}, 0, 3, 0.5f, 2.0f);
  const auto score = [](double x) { return 2 * std::tanh(x / 4); };
  EXPECT_NEAR(out[1] / out[0], std::exp(score(1) - score(4)), 1e-6);
  EXPECT_NEAR(out[2] / out[0], std::exp(score(-3) - score(4)), 1e-6);
}

TEST(SoftmaxPinned, AHeadThatSeesOnlyTheSinkHasNoVote) {
  // Head A prefers page 0 by far but looks at the sink, 500 nats above; head B is undecided about its sink.
  const auto out = Pinned({90, 10, 0, 1, 2, 3}, {590, 2}, 0, 3);
  const auto alone = Pinned({1, 2, 3}, {2}, 0, 3);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(out[i] * 2, alone[i], 1e-6) << i;
}

TEST(SoftmaxPinned, RanksThoughEveryHeadLooksAtTheSink) {
  const auto out = Pinned({1, 2, 3, 5, 4, 6}, {2000, 3000}, 0, 3);
  Pages selected;
  SelectPages({.scores = out}, 0, 3, 3, selected);
  EXPECT_EQ(selected, (Pages{2, 1, 0})) << "the head with the larger share decides";
}

TEST(SoftmaxPinned, NothingIsEverNan) {
  for (const float lse : {-kInf, -1e30f, 0.0f, 3e38f, kInf, kNan}) {
    for (const float x : {-kInf, -3e38f, 0.0f, 1e5f, 3e38f, kInf, kNan}) {
      for (const float score : Pinned({x, 1.0f, -1.0f, x, x, x}, {lse, lse}, 0, 3)) {
        EXPECT_FALSE(std::isnan(score)) << lse << " " << x;
      }
    }
  }
  // The best page is still the best at the edge of f32.
  const auto out = Pinned({1, 3e38f, kNan}, {0}, 0, 3);
  EXPECT_GT(out[1], out[0]);
  EXPECT_EQ(out[2], 0.0f);
}

TEST(SoftmaxPinned, WithoutPinnedTokensItIsTheSoftmax) {
  const std::vector<float> heads = {1, 4, 2, 3, 3, 1};
  std::vector<float> mean(3), scratch(3);
  CombineScores({.kind = CombineKind::kSoftmaxMean, .head_scores = heads, .n_heads = 2}, mean, scratch);
  const auto out = Pinned(heads, {-kInf, -kInf}, 0, 3);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(out[i] / out[1], mean[i] / mean[1], 1e-6);
}

TEST(Shortlist, TwiceWhatAStepChooses) {
  const PageBudget b{.pages = 12, .topk = 3, .sinks = 2, .window = 2};
  EXPECT_EQ(ShortlistSize(b, 4 + 400), 16);
  EXPECT_EQ(ShortlistSize(b, 4 + 100), 16);
  EXPECT_EQ(ShortlistSize(b, 4 + 6), 6) << "all of them: nothing to save";
  EXPECT_EQ(ShortlistSize(b, 3), 0);
}

TEST(Shortlist, OnlyListedPagesAreSelected) {
  const std::vector<float> scores = {1, 3, 2, 3};
  const std::vector<int32_t> pages = {2, 5, 6, 9};
  Pages selected;
  SelectPages({scores, pages}, 1, 12, 3, selected);
  EXPECT_EQ(selected, (Pages{5, 9, 6}));
}

TEST(Shortlist, VictimsComeFromOutsideItFirst) {
  // B = 6: pages 0 (sink) and 7 (window) pinned, k = 1, so three residents stay.
  const PageBudget b{.pages = 6, .topk = 1, .sinks = 1, .window = 1};
  const std::vector<float> scores = {1, 2, 3};
  const std::vector<int32_t> pages = {2, 3, 5};
  std::vector<PageState> states(8, PageState::kResident);
  ResidencyPlan plan;
  PlanStep({.budget = b, .states = states, .ranking = {scores, pages}}, plan);
  EXPECT_EQ(plan.selected, Pages{5});
  EXPECT_EQ(plan.evictions, (Pages{4, 6})) << "2 and 3 have scores; of the others the first one stays";
}

TEST(MakePageBudget, QuestReadsTheLastPageAndTheBestOthers) {
  KvOptions o;
  o.policy = KvPolicyKind::kQuest;
  o.budget_tokens = 320;
  o.dense_layers = 2;
  const PageBudget b = MakePageBudget(o, 5, true);
  EXPECT_EQ(b.pages, 10);
  EXPECT_EQ(b.topk, 9);
  EXPECT_EQ(b.candidates_begin(), 0);
  EXPECT_EQ(b.candidates_end(40), 39);
  EXPECT_FALSE(b.evicts);
  o.budget_tokens = 33;
  EXPECT_EQ(MakePageBudget(o, 5, true).pages, 3) << "the published minimum";
  EXPECT_EQ(MakePageBudget(o, 1, true).pages, 0) << "dense layer";
  o.budget_tokens = 0;
  EXPECT_EQ(MakePageBudget(o, 5, true).pages, 0) << "no limit";
}

}  // namespace
}  // namespace arkvale
