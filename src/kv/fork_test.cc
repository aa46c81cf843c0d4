// ForkAt: a sequence that starts again at an earlier depth.
#include <gtest/gtest.h>

#include "device/fake_device.h"
#include "kv/cache.h"
#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

constexpr int kParent = 21, kChild = 22;

KvShape NoSliding() {
  KvShape shape = TestShape();
  shape.layers.pop_back();
  return shape;
}

// A chunk of prefill with the child's own tokens, then steps; both must give the same bits.
void ExpectSameContinuation(CacheTestRig& rig, KvCache& cache, SeqId fork, SeqId fresh, int32_t n_steps) {
  const auto run = [&](SeqId seq, int32_t n, KvPhase phase) {
    auto out = RunBatch(rig, cache, {{seq, kChild, n, phase}});
    EXPECT_TRUE(out.ok()) << out.status().ToString();
    return *out;
  };
  EXPECT_EQ(run(fork, 9, KvPhase::kPrefill), run(fresh, 9, KvPhase::kPrefill));
  EXPECT_EQ(run(fork, 3, KvPhase::kPrefillLast), run(fresh, 3, KvPhase::kPrefillLast));
  for (int i = 0; i < n_steps; ++i) EXPECT_EQ(run(fork, 1, KvPhase::kStep), run(fresh, 1, KvPhase::kStep)) << i;
  const KvStats a = *cache.stats(fork), b = *cache.stats(fresh);
  EXPECT_EQ(a.n_tokens, b.n_tokens);
  EXPECT_EQ(a.hot_bytes, b.hot_bytes);
  EXPECT_EQ(a.digest_bytes, b.digest_bytes);
  EXPECT_EQ(a.total_bytes, b.total_bytes);
}

TEST(ForkAt, EqualsASequencePrefilledToThatDepth) {
  for (const bool moves : {false, true}) {
    CacheTestRig rig(NoSliding());
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    for (const DigestKind digest : {DigestKind::kCuboidMean, DigestKind::kCode2}) {
      KvOptions o = TestOptions(64);
      o.digest = digest;
      const SeqId parent = *cache->Create(o), twin = *cache->Create(o);
      for (const SeqId seq : {parent, twin}) {
        ASSERT_TRUE(RunBatch(rig, *cache, {{seq, kParent, 190, KvPhase::kPrefillLast}}).ok());
        for (int i = 0; i < 13; ++i) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, kParent}}).ok());
      }
      EXPECT_EQ(cache->MinForkDepth(parent), 0);
      for (const int32_t depth : {0, 1, 8, 50, 64, 100, 128, 135, 190, 195, 202}) {
        auto fork = cache->ForkAt(parent, o, depth);
        ASSERT_TRUE(fork.ok()) << fork.status().ToString();
        EXPECT_EQ(cache->n_tokens(*fork), depth);
        const SeqId fresh = *cache->Create(o);
        if (depth > 0) ASSERT_TRUE(RunBatch(rig, *cache, {{fresh, kParent, depth, KvPhase::kPrefill}}).ok());
        ExpectSameContinuation(rig, *cache, *fork, fresh, 10);
        ASSERT_TRUE(cache->Drop(*fork).ok());
        ASSERT_TRUE(cache->Drop(fresh).ok());
      }
      // The parent goes on as its twin that was never forked.
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(*RunBatch(rig, *cache, {{parent, kParent}}), *RunBatch(rig, *cache, {{twin, kParent}})) << i;
      }
    }
  }
}

TEST(ForkAt, ChildrenAndParentWriteSideBySide) {
  for (const bool moves : {false, true}) {
    CacheTestRig rig(NoSliding());
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    KvOptions o = TestOptions(64);
    o.attend = AttendKind::kAll;
    const SeqId parent = *cache->Create(o);
    ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 1, 100, KvPhase::kPrefillLast}}).ok());
    const SeqId child = *cache->ForkAt(parent, o, 70), second = *cache->ForkAt(parent, o, 100);
    for (int i = 0; i < 40; ++i) {
      auto out = RunBatch(rig, *cache, {{parent, 1}, {child, 2}, {second, 3}});
      ASSERT_TRUE(out.ok());
      for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
        EXPECT_LT(MaxDifference((*out)[l][0], DenseRow(rig.shape.layers[l], l, 1, 100 + i)), 2e-5) << moves << " " << i;
      }
    }
    EXPECT_TRUE(cache->Drop(parent).ok());
    EXPECT_TRUE(RunBatch(rig, *cache, {{child, 2}, {second, 3}}).ok());
  }
}

TEST(ForkAt, WithoutAQuerySinksAndTheNewestPagesAreResident) {
  for (const bool moves : {false, true}) {
    CacheTestRig rig(NoSliding());
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    const KvOptions o = TestOptions(64);
    const SeqId parent = *cache->Create(o);
    ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 1, 190, KvPhase::kPrefillLast}}).ok());
    const KvStats stats = *cache->stats(*cache->ForkAt(parent, o, 150));
    EXPECT_EQ(stats.resident_pages, 2 * 2 * 8) << "the budget, in each group of both managed layers";
    EXPECT_EQ(stats.evicted_pages_now, 2 * 2 * (19 - 8));
  }
}

TEST(ForkAt, SlidingLayersLimitTheDepth) {
  CacheTestRig rig(TestShape());  // window 40
  auto cache = rig.Make();
  const KvOptions o = TestOptions(64);
  const SeqId parent = *cache->Create(o);
  EXPECT_EQ(cache->MinForkDepth(parent), 0);
  ASSERT_TRUE(RunBatch(rig, *cache, {{parent, kParent, 300, KvPhase::kPrefillLast}}).ok());
  // Blocks before position 256 are gone; a window of 40 that starts there ends at 295.
  EXPECT_EQ(cache->MinForkDepth(parent), 256 + 39);
  const auto refused = cache->ForkAt(parent, o, 294);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("at least 295"), std::string::npos) << refused.status().message();
  for (const int32_t depth : {295, 298, 300}) {
    const SeqId fork = *cache->ForkAt(parent, o, depth), fresh = *cache->Create(o);
    ASSERT_TRUE(RunBatch(rig, *cache, {{fresh, kParent, depth, KvPhase::kPrefill}}).ok());
    ExpectSameContinuation(rig, *cache, fork, fresh, 50);
  }
}

TEST(ForkAt, WrongDepthsAndUnknownSequences) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  const KvOptions o = TestOptions(64);
  const SeqId parent = *cache->Create(o);
  ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 1, 30, KvPhase::kPrefillLast}}).ok());
  EXPECT_EQ(cache->ForkAt(parent, o, 31).status().kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(cache->ForkAt(parent, o, -1).status().kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(cache->ForkAt(SeqId(77), o, 0).status().kind(), StatusKind::kNotFound);
  EXPECT_EQ(cache->Fork(SeqId(77), o).status().kind(), StatusKind::kNotFound);
  EXPECT_EQ(cache->MinForkDepth(SeqId(77)), -1);
}

}  // namespace
}  // namespace arkvale
