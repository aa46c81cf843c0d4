#include "arkvale/kv_options.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

constexpr int32_t kLayers = 4;
constexpr int32_t kHeads = 6;

void ExpectRefused(const KvOptions& options, const std::string& words) {
  const Status status = options.Validate(kLayers, kHeads);
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << words;
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(KvOptions, DefaultsAreValid) { EXPECT_TRUE(KvOptions{}.Validate(kLayers, kHeads).ok()); }

TEST(KvOptions, PageSizes) {
  for (int32_t p = -1; p <= 128; ++p) {
    const bool valid = p == 8 || p == 16 || p == 32 || p == 64;
    EXPECT_EQ(KvOptions{.page_tokens = p}.Validate(kLayers, kHeads).ok(), valid) << p;
  }
  ExpectRefused({.page_tokens = 48}, "page of 48 tokens: use 8, 16, 32 or 64");
}

TEST(KvOptions, BudgetMustHoldSinksWindowAndOnePage) {
  EXPECT_TRUE((KvOptions{.budget_tokens = 160}.Validate(kLayers, kHeads).ok()));
  ExpectRefused({.budget_tokens = 159},
                "budget 159 tokens = 4 pages of 32 < sinks + window + 1 = 5 pages: use at least 160");
  EXPECT_TRUE((KvOptions{.budget_tokens = 0}.Validate(kLayers, kHeads).ok()));
  ExpectRefused({.budget_tokens = -2}, "-2 tokens < 0");
  EXPECT_TRUE((KvOptions{.policy = KvPolicyKind::kFull, .budget_tokens = 1}.Validate(kLayers, kHeads).ok()));
}

TEST(KvOptions, AutoIsNoBudgetOfOneLayer) {
  ExpectRefused({.layer_budget_tokens = {0, kAutoBudget, 0, 0}}, "budget auto (layer 1)");
}

TEST(KvOptions, QuestTakesAnyBudgetAndItsOwnDigest) {
  KvOptions o{.policy = KvPolicyKind::kQuest, .budget_tokens = 1, .digest = DigestKind::kCode2};
  EXPECT_TRUE(o.Validate(kLayers, kHeads).ok());
  EXPECT_EQ(o.ResolvedDigest(), DigestKind::kCuboidMax);
  EXPECT_EQ(o.ResolvedCombine(), CombineKind::kMean);
  o.combine = CombineKind::kMax;
  EXPECT_EQ(o.ResolvedCombine(), CombineKind::kMax);
  o.policy = KvPolicyKind::kArkvale;
  o.combine = CombineKind::kAuto;
  EXPECT_EQ(o.ResolvedCombine(), CombineKind::kSoftmaxPinned);
}

TEST(KvOptions, LargeBudgetsDoNotOverflow) {
  EXPECT_TRUE((KvOptions{.budget_tokens = INT64_MAX}.Validate(kLayers, kHeads).ok()));
  ExpectRefused({.sink_pages = INT32_MAX, .window_pages = INT32_MAX}, "sinks + window + 1 = 4294967295");
}

TEST(KvOptions, TopkIsBelowTheBudget) {
  KvOptions o{.budget_tokens = 320, .topk = {TopkRule::Kind::kPages, 9}};
  EXPECT_TRUE(o.Validate(kLayers, kHeads).ok());
  o.topk.pages = 10;
  ExpectRefused(o, "top-k 10 pages >= budget of 10 pages: use at most 9");
  o.topk.pages = 0;
  ExpectRefused(o, "top-k 0 pages < 1");
}

TEST(KvOptions, SmallNumbers) {
  ExpectRefused({.sink_pages = -1}, "sinks of -1");
  ExpectRefused({.window_pages = 0}, "window of 0");
  ExpectRefused({.dense_layers = 5}, "dense layers 5 outside 0..4");
  ExpectRefused({.dense_layers = -1}, "dense layers -1");
  ExpectRefused({.group_heads = 4}, "group of 4 kv heads does not divide the model's 6");
  ExpectRefused({.group_heads = 0}, "group of 0");
  EXPECT_TRUE((KvOptions{.group_heads = 3}.Validate(kLayers, kHeads).ok()));
}

TEST(KvOptions, LayerLists) {
  ExpectRefused({.layer_budget_tokens = {1024}}, "layer budget list has 1 entries, the model 4 layers");
  ExpectRefused({.layer_topk_pages = {1, 2, 3, 4, 5}}, "layer top-k list has 5 entries");
  ExpectRefused({.layer_budget_tokens = {0, 1024, 64, 0}}, "(layer 2)");
  ExpectRefused({.budget_tokens = 320, .layer_topk_pages = {0, 0, 0, 10}}, "(layer 3)");
  EXPECT_TRUE((KvOptions{.layer_budget_tokens = {0, 1024, 160, 0}}.Validate(kLayers, kHeads).ok()));
}

TEST(KvOptions, NamesGoBothWays) {
  for (const auto* name :
       {"centroid", "sphere-max", "sphere-center", "sphere-mean", "cuboid-max", "cuboid-center", "cuboid-mean"}) {
    const auto kind = ParseDigest(name);
    ASSERT_TRUE(kind.ok()) << name;
    EXPECT_EQ(DigestName(*kind), name);
  }
  for (const auto* name : {"full", "arkvale", "quest"}) {
    const auto kind = ParseKvPolicy(name);
    ASSERT_TRUE(kind.ok()) << name;
    EXPECT_EQ(KvPolicyName(*kind), name);
  }
  EXPECT_NE(ParseDigest("cube").status().message().find("cuboid-mean"), std::string::npos);
  EXPECT_EQ(ParseKvPolicy("").status().kind(), StatusKind::kInvalidArgument);
}

TEST(KvOptions, NamedOptions) {
  KvOptions o;
  EXPECT_TRUE(SetKvOption(o, "combine", "max").ok());
  EXPECT_TRUE(SetKvOption(o, "attend", "selected").ok());
  EXPECT_TRUE(SetKvOption(o, "window-exit", "drop").ok());
  EXPECT_TRUE(SetKvOption(o, "digest-type", "f32").ok());
  EXPECT_EQ(o.combine, CombineKind::kMax);
  EXPECT_EQ(o.attend, AttendKind::kSelected);
  EXPECT_EQ(o.window_exit, WindowExit::kDrop);
  EXPECT_EQ(o.digest_type, DigestType::kF32);
  EXPECT_TRUE(SetKvOption(o, "digest-type", "q8").ok());
  EXPECT_EQ(o.digest_type, DigestType::kQ8);
  EXPECT_TRUE(SetKvOption(o, "code-scan", "two-stage").ok());
  EXPECT_EQ(o.code_scan, CodeScan::kTwoStage);
  EXPECT_TRUE(SetKvOption(o, "combine", "softmax-pinned").ok());
  EXPECT_EQ(o.combine, CombineKind::kSoftmaxPinned);
  EXPECT_NE(SetKvOption(o, "attend", "some").message().find("resident, selected, all"), std::string::npos);
  EXPECT_EQ(o.attend, AttendKind::kSelected) << "a refused value changes nothing";
  EXPECT_NE(SetKvOption(o, "comb", "max").message().find("combine, attend, window-exit, digest-type"),
            std::string::npos);
}

}  // namespace
}  // namespace arkvale
