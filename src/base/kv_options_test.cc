#include "arkvale/kv_options.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

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

TEST(KvOptions, BudgetsOfSingleTokensAreNotRoundedToPages) {
  KvOptions o{.policy = KvPolicyKind::kStreaming, .budget_tokens = 5};
  EXPECT_TRUE(o.Validate(kLayers, kHeads).ok());
  o.budget_tokens = 4;
  ExpectRefused(o, "budget 4 tokens <= streaming-sinks 4: use at least 5 tokens or lower streaming-sinks");
  o.policy = KvPolicyKind::kSnapkv;
  o.budget_tokens = 8;
  ExpectRefused(o, "budget 8 tokens <= snap-window 8: use at least 9 tokens");
  o.budget_tokens = 100;
  o.layer_budget_tokens = {0, 7, 0, 0};
  ExpectRefused(o, "budget 7 tokens <= snap-window 8 (layer 1)");
  o.policy = KvPolicyKind::kPyramidkv;
  ExpectRefused(o, "pyramidkv makes the budgets of its layers: give no list of them, or use xkv");
  o.policy = KvPolicyKind::kXkv;
  ExpectRefused(o, "budget 7 tokens <= snap-window 8 (layer 1)");
  o.layer_budget_tokens = {0, 9, 5000, 0};
  EXPECT_TRUE(o.Validate(kLayers, kHeads).ok());
  o.budget_tokens = 8;
  ExpectRefused(o, "budget 8 tokens <= snap-window 8: use at least 9 tokens");
  for (const auto policy : {KvPolicyKind::kH2o, KvPolicyKind::kTova}) {
    EXPECT_TRUE((KvOptions{.policy = policy, .budget_tokens = 1}.Validate(kLayers, kHeads).ok()));
    ExpectRefused({.policy = policy, .budget_tokens = -2}, "-2 tokens < 0");
  }
}

TEST(KvOptions, RangesOfPoliciesThatDropTokens) {
  ExpectRefused({.streaming_sinks = -1}, "streaming-sinks -1 < 0");
  ExpectRefused({.h2o_heavy = 1.5}, "h2o-heavy 1.500000 outside [0, 1]");
  ExpectRefused({.h2o_heavy = NAN}, "outside [0, 1]");
  ExpectRefused({.snap_window = 0}, "snap-window 0: use a number from 1 to 64");
  ExpectRefused({.snap_window = 65}, "snap-window 65: use a number from 1 to 64");
  ExpectRefused({.snap_kernel = 6}, "snap-kernel 6: use an odd number");
  ExpectRefused({.pyramid_beta = 0}, "pyramid-beta 0 < 1");
  ExpectRefused({.collect = {.last_queries = 0}}, "last queries 0: use a number from 1 to 64");
}

TEST(KvOptions, NamedOptionsOfPoliciesThatDropTokens) {
  KvOptions o;
  const std::pair<const char*, const char*> values[] = {
      {"streaming-sinks", "0"}, {"h2o-heavy", "0.25"},   {"h2o-init", "last-row"}, {"snap-window", "32"},
      {"snap-kernel", "5"},     {"snap-pooling", "max"}, {"pyramid-beta", "10"}};
  for (const auto& [name, value] : values) EXPECT_TRUE(SetKvOption(o, name, value).ok()) << name;
  EXPECT_EQ(o, (KvOptions{.streaming_sinks = 0,
                          .h2o_heavy = 0.25,
                          .h2o_init = H2oInit::kLastRow,
                          .snap_window = 32,
                          .snap_kernel = 5,
                          .snap_pooling = SnapPooling::kMax,
                          .pyramid_beta = 10}));
  for (const char* bad : {"", "nan", "-0.1", "1.01", "half", "0.5x"}) {
    EXPECT_EQ(SetKvOption(o, "h2o-heavy", bad).kind(), StatusKind::kInvalidArgument) << bad;
  }
  EXPECT_NE(SetKvOption(o, "snap-window", "65").message().find("from 1 to 64"), std::string::npos);
  EXPECT_NE(SetKvOption(o, "h2o-init", "none").message().find("full, last-row"), std::string::npos);
}

TEST(KvOptions, PoliciesByName) {
  for (const char* name : {"full", "arkvale", "quest", "streaming", "h2o", "tova", "snapkv", "pyramidkv", "xkv"}) {
    const auto policy = ParseKvPolicy(name);
    ASSERT_TRUE(policy.ok()) << name;
    EXPECT_EQ(KvPolicyName(*policy), name);
    EXPECT_EQ(KeepsAllTokens(*policy), *policy <= KvPolicyKind::kQuest) << name;
  }
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
  for (const auto* name : {"f16", "q8_0", "q4_0"}) {
    const auto type = ParseKvType(name);
    ASSERT_TRUE(type.ok()) << name;
    EXPECT_EQ(KvTypeName(*type), name);
  }
  EXPECT_EQ(ParseKvType("q4_1").status().message(), "KV type 'q4_1' is unknown: use one of f16, q8_0, q4_0");
  EXPECT_NE(ParseDigest("cube").status().message().find("cuboid-mean"), std::string::npos);
  EXPECT_EQ(ParseKvPolicy("").status().kind(), StatusKind::kInvalidArgument);
}

TEST(KvOptions, AZoneNeedsCodesAndExactPages) {
  const auto message = [](auto change) {
    KvOptions o;
    o.zone_tokens = 1024;
    change(o);
    return o.Validate(4, 2).message();
  };
  EXPECT_EQ(message([](KvOptions&) {}), "");
  EXPECT_EQ(message([](KvOptions& o) { o.zone_tokens = kZoneAll; }), "");
  EXPECT_EQ(message([](KvOptions& o) { o.zone_tokens = -1; }), "zone -1 tokens < 0: use 0 for none");
  EXPECT_EQ(message([](KvOptions& o) { o.zone_tokens = 31; }),
            "zone 31 tokens < 1 page of 32: use 0 for none, or whole pages");
  EXPECT_EQ(message([](KvOptions& o) { o.zone_value_bits = 3; }), "zone-v 3 bits: use 2 or 4");
  EXPECT_EQ(message([](KvOptions& o) { o.digest = DigestKind::kCode1; }),
            "zone with digest code1: only code2 can stand for the keys; use it, or zone=0");
  EXPECT_TRUE(message([](KvOptions& o) { o.attend = AttendKind::kAll; }).starts_with("zone with attend=all: "));
  // Policies without a zone do not look at it.
  EXPECT_EQ(message([](KvOptions& o) { o.policy = KvPolicyKind::kQuest, o.digest = DigestKind::kCode1; }), "");
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
  EXPECT_TRUE(SetKvOption(o, "rank-every", "4").ok());
  EXPECT_EQ(o.rank_every, 4);
  for (const char* bad : {"", "0", "-1", "65", "4x", "99999999999"}) {
    EXPECT_EQ(SetKvOption(o, "rank-every", bad).kind(), StatusKind::kInvalidArgument) << bad;
  }
  EXPECT_EQ(o.rank_every, 4);
  EXPECT_TRUE(SetKvOption(o, "zone", "1024").ok());
  EXPECT_EQ(o.zone_tokens, 1024);
  EXPECT_TRUE(SetKvOption(o, "zone", "all").ok());
  EXPECT_EQ(o.zone_tokens, kZoneAll);
  EXPECT_TRUE(SetKvOption(o, "zone-v", "4").ok());
  for (const char* bad : {"", "-1", "most", "1e3", "99999999999"}) {
    EXPECT_NE(SetKvOption(o, "zone", bad).message().find("or all"), std::string::npos) << bad;
  }
  for (const char* bad : {"", "1", "8", "all"}) EXPECT_FALSE(SetKvOption(o, "zone-v", bad).ok()) << bad;
  EXPECT_EQ(o.zone_tokens, kZoneAll);
  EXPECT_EQ(o.zone_value_bits, 4);
  EXPECT_TRUE(SetKvOption(o, "combine", "softmax-pinned").ok());
  EXPECT_EQ(o.combine, CombineKind::kSoftmaxPinned);
  EXPECT_NE(SetKvOption(o, "attend", "some").message().find("resident, selected, all"), std::string::npos);
  EXPECT_EQ(o.attend, AttendKind::kSelected) << "a refused value changes nothing";
  EXPECT_NE(SetKvOption(o, "comb", "max").message().find("combine, attend, window-exit, digest-type"),
            std::string::npos);
}

}  // namespace
}  // namespace arkvale
