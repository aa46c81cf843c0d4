#include "kv/token_rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace arkvale {
namespace {

using Cells = std::vector<int32_t>;

TokenRule Rule(KvPolicyKind policy, int64_t budget, const KvOptions& options = {}) {
  KvOptions o = options;
  o.policy = policy;
  o.budget_tokens = budget;
  o.dense_layers = 0;
  return MakeTokenRule(o, 0, 0, 1);
}

Cells Keep(const TokenRule& rule, const Cells& positions, const std::vector<float>& scores, int64_t n_tokens) {
  const int64_t keep = rule.KeptAfterPrefill(static_cast<int64_t>(positions.size()));
  Cells kept(keep);
  std::vector<uint64_t> keys;
  KeepTokens(rule, {positions, scores, n_tokens}, keep, keys, kept);
  return kept;
}

Cells Positions(int32_t n) {
  Cells positions(n);
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

// Sizes of all layers before the window, and their sum.
std::pair<Cells, int64_t> Pyramid(int64_t budget, int64_t n_held) {
  Cells kept;
  for (int32_t l = 0; l < 32; ++l) kept.push_back(static_cast<int32_t>(PyramidKept(budget, 8, 20, l, 32, n_held)));
  return {kept, std::accumulate(kept.begin(), kept.end(), int64_t{0})};
}

TEST(PyramidKept, NumbersOfTheAlgorithms) {
  const auto [large, large_sum] = Pyramid(2048, 100000);
  EXPECT_EQ(large[0], 3978);
  EXPECT_EQ(large[1], 3853);
  EXPECT_EQ(large[31], 103);
  EXPECT_EQ(large_sum, 65296);
  const auto [small, small_sum] = Pyramid(128, 100000);
  EXPECT_EQ(small[0], 234);
  EXPECT_EQ(small[1], 227);
  EXPECT_EQ(small[31], 17);
  EXPECT_EQ(small_sum, 4016);
}

TEST(PyramidKept, ShortPrompts) {
  EXPECT_EQ(Pyramid(128, 128).first, Cells(32, 120));
  EXPECT_EQ(Pyramid(128, 239).first, Cells(32, 120)) << "below 2 (c - W)";
  // 240 tokens: the first layer would keep 234 of the 232 before the window.
  EXPECT_EQ(PyramidKept(128, 8, 20, 0, 32, 240), 232);
  EXPECT_EQ(PyramidKept(128, 8, 20, 31, 32, 240), 232 - 31 * ((232 - 8) / 31));
  EXPECT_EQ(PyramidKept(128, 8, 20, 0, 1, 100000), 120) << "one layer";
}

TEST(KeepTokens, StreamingKeepsSinksAndTheNewest) {
  KvOptions o;
  o.streaming_sinks = 2;
  const TokenRule rule = Rule(KvPolicyKind::kStreaming, 5, o);
  EXPECT_EQ(Keep(rule, Positions(9), {}, 9), (Cells{0, 1, 6, 7, 8}));
  EXPECT_EQ(Keep(rule, Positions(5), {}, 5), Positions(5));
  EXPECT_EQ(DroppedCell(rule, {Cells{0, 1, 7, 5, 6, 8}, {}, 9}), 3) << "the oldest that is no sink, wherever it lies";
  EXPECT_TRUE(rule.heads_alike());
}

TEST(KeepTokens, H2oKeepsTheNewestAndTheHeavy) {
  const TokenRule rule = Rule(KvPolicyKind::kH2o, 5);
  EXPECT_EQ(rule.heavy, 2) << "floor(c / 2)";
  EXPECT_EQ(Keep(rule, Positions(8), {1, 5, 2, 5, 4, 0, 0, 0}, 8), (Cells{1, 3, 5, 6, 7}));
  EXPECT_EQ(Keep(rule, Positions(8), {5, 5, 5, 5, 5, 0, 0, 0}, 8), (Cells{0, 1, 5, 6, 7})) << "equal: the earlier";
  // Cells out of order: positions decide what is new and who wins a tie.
  const Cells positions = {6, 2, 1, 7, 5, 4};
  EXPECT_EQ(DroppedCell(rule, {positions, std::vector<float>{0, 3, 3, 0, 0, 9}, 8}), 1);
  EXPECT_EQ(DroppedCell(rule, {positions, std::vector<float>{0, 3, NAN, 0, 0, 9}, 8}), 2);
}

TEST(KeepTokens, H2oSharesOfTheBudget) {
  KvOptions o;
  o.h2o_heavy = 0;
  EXPECT_EQ(Keep(Rule(KvPolicyKind::kH2o, 3, o), Positions(6), {9, 9, 9, 0, 0, 0}, 6), (Cells{3, 4, 5}));
  o.h2o_heavy = 1;
  EXPECT_EQ(Keep(Rule(KvPolicyKind::kH2o, 3, o), Positions(6), {9, 9, 9, 0, 0, 0}, 6), (Cells{0, 1, 2}));
}

TEST(KeepTokens, TovaDropsEvenTheNewest) {
  const TokenRule rule = Rule(KvPolicyKind::kTova, 3);
  EXPECT_EQ(Keep(rule, Positions(5), {3, 1, 5, 4, 2}, 5), (Cells{0, 2, 3}));
  EXPECT_EQ(DroppedCell(rule, {Positions(4), std::vector<float>{3, 2, 5, 1}, 4}), 3);
  EXPECT_EQ(DroppedCell(rule, {Cells{2, 0, 1, 3}, std::vector<float>{1, 1, 1, 1}, 4}), 3) << "equal: the later goes";
}

TEST(KeepTokens, SnapkvKeepsItsWindow) {
  KvOptions o;
  o.snap_window = 2;
  const TokenRule rule = Rule(KvPolicyKind::kSnapkv, 4, o);
  EXPECT_EQ(Keep(rule, Positions(7), {1, 0, 3, 2, 2}, 7), (Cells{2, 3, 5, 6}));
  EXPECT_EQ(Keep(rule, Positions(3), {}, 3), Positions(3)) << "N_p < c";
  EXPECT_EQ(rule.KeptAfterStep(100), 100) << "it grows";
  EXPECT_EQ(rule.n_queries(), 2);
}

// SnapKV keeps all where N_p < c and then c, XKV all where N_p - W <= x = c - W and then x + W: the same at N_p = c
// too.
TEST(KeepTokens, SnapkvAndXkvAgreeOfWhatFits) {
  KvOptions o;
  o.snap_window = 2;
  for (const auto policy : {KvPolicyKind::kSnapkv, KvPolicyKind::kXkv}) {
    const TokenRule rule = Rule(policy, 4, o);
    EXPECT_EQ(Keep(rule, Positions(3), {0}, 3), Positions(3));
    EXPECT_EQ(Keep(rule, Positions(4), {0, 0}, 4), Positions(4));
    EXPECT_EQ(Keep(rule, Positions(5), {1, 0, 1}, 5), (Cells{0, 2, 3, 4}));
    EXPECT_EQ(Keep(rule, Positions(5), {1, 1, 1}, 5), (Cells{0, 1, 3, 4})) << "equal: the earlier";
  }
  const TokenRule least = Rule(KvPolicyKind::kXkv, 3, o);
  EXPECT_EQ(Keep(least, Positions(6), {0, 2, 3, 1}, 6), (Cells{2, 4, 5})) << "one token and the window";
  EXPECT_TRUE(least.chooses_once());
  EXPECT_FALSE(Rule(KvPolicyKind::kSnapkv, 3, o).chooses_once());
}

TEST(MakeTokenRules, CountsManagedLayers) {
  KvShape shape{std::vector<KvLayerShape>(5)};
  shape.layers[2].window = 40;
  KvOptions o;
  o.policy = KvPolicyKind::kPyramidkv;
  o.budget_tokens = 100;
  o.dense_layers = 1;
  const auto rules = MakeTokenRules(shape, o);
  EXPECT_EQ(rules[0].budget, 0);
  EXPECT_EQ(rules[2].budget, 0);
  for (const int32_t l : {1, 3, 4}) {
    EXPECT_EQ(rules[l].budget, 100);
    EXPECT_EQ(rules[l].managed_layers, 3);
  }
  EXPECT_EQ(rules[3].managed_index, 1);
  EXPECT_EQ(rules[4].managed_index, 2);
  o.policy = KvPolicyKind::kTova;
  o.layer_budget_tokens = {0, 30, 0, 40, 0};
  EXPECT_EQ(MakeTokenRules(shape, o)[1].budget, 30);
  EXPECT_EQ(MakeTokenRules(shape, o)[4].budget, 100);
  o.policy = KvPolicyKind::kArkvale;
  EXPECT_EQ(MakeTokenRules(shape, o)[1].budget, 0);
}

}  // namespace
}  // namespace arkvale
