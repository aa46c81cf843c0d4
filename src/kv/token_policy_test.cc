// Policies that drop single tokens, against their definitions in doubles.
#include <gtest/gtest.h>

#include "device/fake_device.h"
#include "kv/cache.h"
#include "kv/token_reference_test_util.h"

namespace arkvale {
namespace {

constexpr double kTolerance = 2e-5;  // f32 softmax over some hundred tokens of size ~1 against f64

struct Case {
  const char* name;
  KvOptions options;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const auto add = [&](const char* name, KvPolicyKind policy, int64_t budget) -> KvOptions& {
    KvOptions o = TestOptions(budget);
    o.policy = policy;
    cases.push_back({name, o});
    return cases.back().options;
  };
  add("streaming", KvPolicyKind::kStreaming, 37);
  add("streaming without sinks", KvPolicyKind::kStreaming, 64).streaming_sinks = 0;
  add("h2o", KvPolicyKind::kH2o, 37);
  add("h2o, last row", KvPolicyKind::kH2o, 64).h2o_init = H2oInit::kLastRow;
  add("tova", KvPolicyKind::kTova, 37);
  add("tova, one block", KvPolicyKind::kTova, 64);
  add("snapkv", KvPolicyKind::kSnapkv, 37);
  add("snapkv, max", KvPolicyKind::kSnapkv, 65).snap_pooling = SnapPooling::kMax;
  cases.back().options.snap_window = 3;
  cases.back().options.snap_kernel = 5;
  add("pyramidkv", KvPolicyKind::kPyramidkv, 37);
  add("pyramidkv, all layers alike", KvPolicyKind::kPyramidkv, 90);
  add("xkv", KvPolicyKind::kXkv, 37);
  // The first prompt has 121 tokens: one layer keeps all but its least, in the other it fits by a hair.
  add("xkv, hardly any", KvPolicyKind::kXkv, 37).layer_budget_tokens = {0, 120, 121, 0};
  for (const KvPolicyKind policy : {KvPolicyKind::kXkv, KvPolicyKind::kSnapkv, KvPolicyKind::kH2o}) {
    add("budgets of layers", policy, 37).layer_budget_tokens = {0, 9, 100, 0};
  }
  return cases;
}

struct Variant {
  float softcap;
  DType dtype;
};

// Several prompts and the steps after each, one of them shorter than a window.
void ExpectTheDefinition(const Case& c, const Variant& variant) {
  KvShape shape = TestShape();
  shape.dtype = variant.dtype;
  for (KvLayerShape& layer : shape.layers) {
    layer.softcap = variant.softcap;
    if (IsQuantised(variant.dtype)) layer.head_dim_k = layer.head_dim_v = 32;
  }
  CacheTestRig rig(shape);
  auto cache = rig.Make();
  const SeqId seq = *cache->Create(c.options);
  std::vector<TokenReference> reference;
  for (const int l : {1, 2}) reference.emplace_back(shape, c.options, l, 5, l - 1, 2);
  const auto run = [&](int32_t n, KvPhase phase) {
    const auto out = RunBatch(rig, *cache, {{seq, 5, n, phase}});
    ASSERT_TRUE(out.ok()) << out.status().ToString();
    int64_t held = 0;
    for (const int l : {1, 2}) {
      const auto expected = reference[l - 1].Run(n, phase == KvPhase::kStep, phase == KvPhase::kPrefillLast);
      for (int32_t i = 0; i < n; ++i) {
        ASSERT_LT(MaxDifference((*out)[l][i], expected[i]), kTolerance)
            << c.name << " layer " << l << " token " << cache->n_tokens(seq) - n + i;
      }
      held += reference[l - 1].n_held();
    }
    const KvStats stats = *cache->stats(seq);
    EXPECT_EQ(stats.hot_tokens, static_cast<double>(held + stats.n_tokens)) << c.name << ": and a dense layer";
    EXPECT_EQ(stats.full_layers, 3);
    EXPECT_EQ(stats.dropped_tokens, 2 * (2 * stats.n_tokens - held)) << c.name;
  };
  const auto steps = [&](int n) {
    for (int i = 0; i < n; ++i) run(1, KvPhase::kStep);
  };
  run(90, KvPhase::kPrefill);
  run(31, KvPhase::kPrefillLast);
  // One token too many at the end of a prompt, twice: what is left must still be in order.
  run(1, KvPhase::kPrefillLast);
  run(1, KvPhase::kPrefillLast);
  steps(20);
  run(5, KvPhase::kPrefillLast);
  steps(10);
  run(150, KvPhase::kPrefillLast);
  steps(3);
}

TEST(TokenPolicy, ReadsWhatTheDefinitionsKeep) {
  for (const Variant& variant :
       {Variant{0.0f, DType::kF16}, {1.5f, DType::kF16}, {0.0f, DType::kQ8}, {0.0f, DType::kQ4}}) {
    for (const Case& c : Cases()) {
      ExpectTheDefinition(c, variant);
      if (HasFatalFailure()) return;
    }
  }
}

// What comes after the end of its first prompt stays, in that sequence and its twins.
TEST(TokenPolicy, XkvChoosesOnce) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions o = TestOptions(37);
  o.policy = KvPolicyKind::kXkv;
  const auto prompt = [&](SeqId seq, int32_t n, bool commit = true) {
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, n, KvPhase::kPrefillLast}}, commit).ok());
  };
  const auto dropped = [&](SeqId seq) { return cache->stats(seq)->dropped_tokens; };
  const SeqId seq = *cache->Create(o);
  prompt(seq, 90, /*commit=*/false);
  prompt(seq, 30);
  const SeqId twin = *cache->Fork(seq, o);
  for (const SeqId either : {seq, twin}) {
    prompt(either, 100);
    EXPECT_EQ(dropped(either), 0) << "a prompt that ended within the budget was the one that counts";
  }
  // With other options it is a prompt that ends where it is forked.
  o.budget_tokens = 50;
  const SeqId other = *cache->Fork(seq, o);
  EXPECT_EQ(dropped(other), 2 * 2 * (130 - 50)) << "two layers of two kv heads";
  prompt(other, 60);
  EXPECT_EQ(dropped(other), 2 * 2 * (130 - 50));
}

// Parallel loops of one step, over all layers: one dense, two managed, one sliding.
TEST(TokenPolicy, LoopsOfAStep) {
  for (const Case& c : Cases()) {
    for (const int n : {1, 3}) {
      CacheTestRig rig(TestShape(), 2);
      const auto cache = rig.Make();
      std::vector<TestItem> steps;
      for (int i = 0; i < n; ++i) {
        steps.push_back({*cache->Create(c.options), i});
        ASSERT_TRUE(RunBatch(rig, *cache, {{steps[i].seq, i, 202, KvPhase::kPrefillLast}}).ok());
      }
      const int64_t before = rig.pool.n_loops();
      ASSERT_TRUE(RunBatch(rig, *cache, steps).ok());
      const bool weighs = c.options.policy == KvPolicyKind::kH2o || c.options.policy == KvPolicyKind::kTova;
      EXPECT_EQ(rig.pool.n_loops() - before, 4 + (weighs ? 2 * n : 0))
          << c.name << ": attention, and what each sequence looks at";
    }
  }
}

TEST(TokenPolicy, IsRefusedWhereBytesMove) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto cache = rig.Make(&device);
  for (const Case& c : Cases()) {
    const auto made = cache->Create(c.options);
    ASSERT_FALSE(made.ok()) << c.name;
    EXPECT_EQ(made.status().kind(), StatusKind::kInvalidArgument);
    const std::string policy(KvPolicyName(c.options.policy));
    EXPECT_NE(made.status().message().find("policy " + policy + " drops single tokens"), std::string::npos)
        << made.status().message();
  }
  KvOptions collects{.policy = KvPolicyKind::kFull};
  collects.collect.column_sums = true;
  EXPECT_EQ(cache->Create(collects).status().kind(), StatusKind::kInvalidArgument);
}

// What a parent must have kept for a fork, and what a fork can no longer have.
TEST(TokenPolicy, ForksSayWhatIsMissing) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions plain = TestOptions(64), h2o = TestOptions(37), snapkv = h2o, tova = h2o;
  plain.policy = KvPolicyKind::kFull;
  h2o.policy = KvPolicyKind::kH2o;
  snapkv.policy = KvPolicyKind::kSnapkv;
  tova.policy = KvPolicyKind::kTova;
  const SeqId parent = *cache->Create(plain);
  ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 1, 120, KvPhase::kPrefillLast}}).ok());
  const auto refused = [&](const Result<SeqId>& fork, const std::string& words) {
    ASSERT_FALSE(fork.ok()) << words;
    EXPECT_EQ(fork.status().kind(), StatusKind::kInvalidArgument);
    EXPECT_NE(fork.status().message().find(words), std::string::npos) << fork.status().message();
  };
  refused(cache->Fork(parent, h2o), "collect.column_sums = true");
  refused(cache->Fork(parent, snapkv), "needs the last 8 queries, the sequence to fork has 1 of depth 120");
  h2o.h2o_init = H2oInit::kLastRow;
  EXPECT_TRUE(cache->Fork(parent, h2o).ok());
  const SeqId dropped = *cache->Fork(parent, tova);
  EXPECT_EQ(cache->MinForkDepth(dropped), 120);
  refused(cache->Fork(dropped, plain), "policy tova has dropped tokens for good");
  refused(cache->ForkAt(dropped, tova, 110), "policy tova has dropped tokens for good");
  EXPECT_TRUE(cache->Fork(dropped, tova).ok());
  // Within its budget nothing is gone.
  const SeqId small = *cache->Create(tova);
  ASSERT_TRUE(RunBatch(rig, *cache, {{small, 1, 30, KvPhase::kPrefillLast}}).ok());
  EXPECT_EQ(cache->MinForkDepth(small), 0);
  EXPECT_TRUE(cache->ForkAt(small, plain, 20).ok());
  // A step that reads a choice of pages ends the sums.
  KvOptions arkvale = TestOptions(64);
  arkvale.collect.column_sums = true;
  h2o.h2o_init = H2oInit::kFull;
  const SeqId pages = *cache->Create(arkvale);
  ASSERT_TRUE(RunBatch(rig, *cache, {{pages, 1, 120, KvPhase::kPrefillLast}}).ok());
  EXPECT_TRUE(cache->Fork(pages, h2o).ok());
  ASSERT_TRUE(RunBatch(rig, *cache, {{pages, 1}, {parent, 1}}).ok());
  refused(cache->Fork(pages, h2o), "collect.column_sums = true");
}

}  // namespace
}  // namespace arkvale
