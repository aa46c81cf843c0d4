#include "kv/hot_bytes.h"

#include <gtest/gtest.h>

#include "device/fake_device.h"
#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// Algorithms 2, "Bytes": 32 layers of 32 heads of 128, f16, 30,000 tokens, c = 1024, p = 32, two dense layers.
TEST(HotBytes, LongChat7B) {
  const KvLayerShape layer{.n_q_heads = 32, .n_kv_heads = 32, .head_dim_k = 128, .head_dim_v = 128, .scale = 0.1f};
  const KvShape shape{std::vector<KvLayerShape>(32, layer)};
  KvOptions o;
  o.budget_tokens = 1024;
  o.dense_layers = 2;
  o.digest = DigestKind::kCuboidMean;
  const double mib = static_cast<double>(HotBytes(shape, o, 30000, true)) / kMiB;
  EXPECT_NEAR(mib, 937.5 + 480 + 439.2, 0.05);
  o.policy = KvPolicyKind::kFull;
  EXPECT_EQ(HotBytes(shape, o, 30000, true), 15000 * kMiB);
}

struct HotCase {
  const char* name;
  KvOptions options;
};

std::vector<HotCase> HotCases() {
  std::vector<HotCase> cases = {{"default", TestOptions(64)}, {"full", {}}, {"quest", TestOptions(40)}};
  cases[1].options.policy = KvPolicyKind::kFull;
  cases[2].options.policy = KvPolicyKind::kQuest;
  for (const DigestKind kind :
       {DigestKind::kSphereMax, DigestKind::kCentroid, DigestKind::kCode1, DigestKind::kCode2}) {
    for (const DigestType type : {DigestType::kF16, DigestType::kF32, DigestType::kQ8}) {
      KvOptions o = TestOptions(96, 16);
      o.digest = kind;
      o.digest_type = type;
      o.group_heads = 2;
      o.layer_budget_tokens = {0, 0, 80, 0};
      cases.push_back({"kinds", o});
    }
  }
  return cases;
}

// The plan is what a cache reports, step by step: dense, managed and sliding layers.
TEST(HotBytes, EqualsWhatACacheReports) {
  for (const bool in_place : {true, false}) {
    CacheTestRig rig(TestShape(), 1);
    FakeDevice device;
    auto cache = rig.Make(in_place ? nullptr : &device);
    for (const HotCase& c : HotCases()) {
      if (!in_place && c.options.policy == KvPolicyKind::kQuest) continue;
      const SeqId seq = *cache->Create(c.options);
      const auto check = [&] {
        const KvStats stats = *cache->stats(seq);
        EXPECT_EQ(stats.hot_bytes + stats.digest_bytes, HotBytes(rig.shape, c.options, stats.n_tokens, in_place))
            << c.name << " in place " << in_place << " at " << stats.n_tokens;
      };
      check();
      for (const int32_t n : {5, 60, 1, 70}) {
        ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, n, KvPhase::kPrefillLast}}).ok());
        check();
        for (int i = 0; i < 4; ++i) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1}}).ok());
        check();
      }
    }
  }
}

// Policies that drop single tokens: a step may hold one token more than it leaves, and what a prefill will leave of its
// prompt is not known.
TEST(HotBytes, TokensAreAtMostPlanned) {
  for (const KvPolicyKind policy : {KvPolicyKind::kStreaming, KvPolicyKind::kH2o, KvPolicyKind::kTova,
                                    KvPolicyKind::kSnapkv, KvPolicyKind::kPyramidkv, KvPolicyKind::kXkv}) {
    CacheTestRig rig(TestShape(), 1);
    auto cache = rig.Make();
    KvOptions o = TestOptions(37);
    o.policy = policy;
    const SeqId seq = *cache->Create(o);
    const bool bounded =
        policy == KvPolicyKind::kStreaming || policy == KvPolicyKind::kH2o || policy == KvPolicyKind::kTova;
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, 30, KvPhase::kPrefillLast}}).ok());
    EXPECT_EQ(cache->stats(seq)->hot_bytes, HotBytes(rig.shape, o, 30, true)) << "nothing was dropped";
    for (const int32_t n : {60, 70}) {
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, n, KvPhase::kPrefillLast}}).ok());
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1}}).ok());
      const KvStats stats = *cache->stats(seq);
      const int64_t plan = HotBytes(rig.shape, o, stats.n_tokens, true);
      const int64_t token_bytes = rig.shape.layers[0].token_bytes(DType::kF16);
      EXPECT_LE(stats.hot_bytes, plan);
      if (bounded) EXPECT_EQ(plan - stats.hot_bytes, 2 * token_bytes) << "one token in both managed layers";
      if (!bounded) EXPECT_EQ(plan, cache->FullBytes(stats.n_tokens));
    }
  }
}

TEST(BudgetForHotBytes, CountsSingleTokensWhereThePolicyDoes) {
  const KvShape shape = TestShape();
  KvOptions o = TestOptions(kAutoBudget);
  o.policy = KvPolicyKind::kTova;
  const int64_t limit = 100001;
  const int64_t budget = *BudgetForHotBytes(shape, o, 700, limit);
  EXPECT_GT(budget, 1);
  o.budget_tokens = budget;
  EXPECT_LE(HotBytes(shape, o, 700, true), limit);
  o.budget_tokens = budget + 1;
  EXPECT_GT(HotBytes(shape, o, 700, true), limit);
  o.policy = KvPolicyKind::kStreaming;
  EXPECT_NE(BudgetForHotBytes(shape, o, 700, 1).status().message().find("budget of 5 tokens"), std::string::npos);
}

TEST(BudgetForHotBytes, IsTheLargestThatFits) {
  const KvShape shape = TestShape();
  KvOptions o = TestOptions(kAutoBudget);
  for (const bool in_place : {true, false}) {
    for (const int64_t limit : {140000, 160000, 200000}) {
      const auto budget = BudgetForHotBytes(shape, o, 700, limit, in_place);
      ASSERT_TRUE(budget.ok()) << budget.status().ToString();
      KvOptions fits = o;
      fits.budget_tokens = *budget;
      EXPECT_TRUE(fits.Validate(shape.n_layers(), 2).ok());
      EXPECT_EQ(*budget % 8, 0);
      EXPECT_LE(HotBytes(shape, fits, 700, in_place), limit);
      fits.budget_tokens += 8;
      EXPECT_GT(HotBytes(shape, fits, 700, in_place), limit);
    }
  }
  EXPECT_EQ(*BudgetForHotBytes(shape, o, 700, 100 * kMiB), 704) << "no more than all of it";
  EXPECT_EQ(*BudgetForHotBytes(shape, o, 3, 100 * kMiB), 40) << "but valid";
}

TEST(BudgetForHotBytes, SaysWhatTheLeastBudgetNeeds) {
  const auto budget = BudgetForHotBytes(TestShape(), TestOptions(kAutoBudget), 700, 1000);
  ASSERT_FALSE(budget.ok());
  EXPECT_EQ(budget.status().kind(), StatusKind::kResourceExhausted);
  KvOptions least = TestOptions(40);
  const std::string needed = std::to_string(HotBytes(TestShape(), least, 700, true)) + " bytes";
  EXPECT_NE(budget.status().message().find(needed), std::string::npos) << budget.status().message();
  EXPECT_NE(budget.status().message().find("1000 bytes"), std::string::npos) << budget.status().message();
}

// Several sequences under one limit: refused before anything changes, and never above it.
TEST(HotLimit, HoldsUnderLoadWhereRamIsReadInPlace) {
  CacheTestRig rig(TestShape(), 1);
  const KvOptions o = TestOptions(64);
  const int64_t limit = 3 * HotBytes(rig.shape, o, 150, true);
  auto cache = rig.Make(nullptr, 64 << 20, limit);
  Rng rng("hot-limit/1");
  struct Live {
    SeqId seq;
    int seed;
  };
  std::vector<Live> live;
  int refused = 0, refused_forks = 0, forks = 0, steps = 0;
  for (int i = 0; i < 600; ++i) {
    if (live.empty() || (live.size() < 6 && rng.Below(20) == 0)) {
      const int seed = static_cast<int>(rng.Below(1000));
      live.push_back({*cache->Create(o), seed});
    } else if (live.size() < 6 && rng.Below(20) == 0) {
      const Live parent = live[rng.Below(live.size())];
      auto fork = cache->Fork(parent.seq, o);
      if (fork.ok()) {
        live.push_back({*fork, parent.seed});
        ++forks;
      } else {
        EXPECT_EQ(fork.status().kind(), StatusKind::kResourceExhausted);
        ++refused_forks;
      }
    }
    const size_t at = rng.Below(live.size());
    const Live one = live[at];
    const int64_t before = cache->n_tokens(one.seq);
    const KvStats stats_before = *cache->stats(one.seq);
    const bool prefill = rng.Below(8) == 0;
    const auto n = static_cast<int32_t>(prefill ? 1 + rng.Below(60) : 1);
    auto out = RunBatch(rig, *cache, {{one.seq, one.seed, n, prefill ? KvPhase::kPrefillLast : KvPhase::kStep}});
    if (!out.ok()) {
      ASSERT_EQ(out.status().kind(), StatusKind::kResourceExhausted);
      EXPECT_NE(out.status().message().find("hot KV memory is full"), std::string::npos) << out.status().message();
      EXPECT_EQ(cache->n_tokens(one.seq), before);
      EXPECT_EQ(cache->stats(one.seq)->hot_bytes, stats_before.hot_bytes);
      ++refused;
      ASSERT_TRUE(cache->Drop(one.seq).ok());
      live.erase(live.begin() + static_cast<int64_t>(at));
    } else {
      ++steps;
    }
    int64_t hot = 0;
    for (const Live& l : live) {
      const KvStats stats = *cache->stats(l.seq);
      hot += stats.hot_bytes_peak + stats.digest_bytes;
    }
    ASSERT_LE(hot, limit) << "step " << i;
  }
  EXPECT_GT(refused, 10);
  EXPECT_GT(refused_forks, 0);
  EXPECT_GT(forks, 5);
  EXPECT_GT(steps, 300);
  for (const Live& l : live) ASSERT_TRUE(cache->Drop(l.seq).ok());
  // Everything came back: a sequence that takes nearly all of it fits again.
  const SeqId large = *cache->Create(o);
  EXPECT_TRUE(RunBatch(rig, *cache, {{large, 1, 400, KvPhase::kPrefillLast}}).ok());
}

TEST(HotLimit, AnAbortedBatchGivesItsBytesBack) {
  CacheTestRig rig(TestShape(), 1);
  const KvOptions o = TestOptions(64);
  auto cache = rig.Make(nullptr, 64 << 20, HotBytes(rig.shape, o, 200, true));
  const SeqId a = *cache->Create(o), b = *cache->Create(o);
  ASSERT_TRUE(RunBatch(rig, *cache, {{a, 1, 150, KvPhase::kPrefillLast}}, /*commit=*/false).ok());
  ASSERT_TRUE(RunBatch(rig, *cache, {{b, 2, 200, KvPhase::kPrefillLast}}).ok());
  EXPECT_FALSE(RunBatch(rig, *cache, {{a, 1, 8, KvPhase::kPrefillLast}}).ok());
  // A batch of two is refused as a whole.
  ASSERT_TRUE(cache->Drop(b).ok());
  const SeqId c = *cache->Create(o);
  EXPECT_FALSE(RunBatch(rig, *cache, {{a, 1, 100, KvPhase::kPrefillLast}, {c, 3, 190, KvPhase::kPrefillLast}}).ok());
  EXPECT_EQ(cache->n_tokens(a), 0);
  EXPECT_TRUE(RunBatch(rig, *cache, {{c, 3, 200, KvPhase::kPrefillLast}}).ok());
}

}  // namespace
}  // namespace arkvale
