// The cache on a tier that really moves bytes: a device whose copies run only when the test or a wait says so.
#include <gtest/gtest.h>

#include <map>

#include "device/fake_device.h"
#include "kv/cache_test_util.h"
#include "kv/page_table.h"
#include "kv/slot_pool.h"

namespace arkvale {
namespace {

TEST(MovingTier, PrefillAndAttendAllAreDense) {
  for (const int32_t page : {8, 16}) {
    CacheTestRig rig(TestShape());
    FakeDevice device;
    auto cache = rig.Make(&device);
    KvOptions o = TestOptions(6 * page, page);
    o.attend = AttendKind::kAll;
    o.group_heads = page == 8 ? 1 : 2;
    const SeqId seq = *cache->Create(o);
    auto prefill = RunBatch(rig, *cache, {{seq, 7, 100, KvPhase::kPrefill}});
    ASSERT_TRUE(prefill.ok()) << prefill.status().ToString();
    auto second = RunBatch(rig, *cache, {{seq, 7, 75, KvPhase::kPrefillLast}});
    ASSERT_TRUE(second.ok());
    for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
      for (int i = 0; i < 100; ++i)
        EXPECT_LT(MaxDifference((*prefill)[l][i], DenseRow(rig.shape.layers[l], l, 7, i)), 2e-5);
      for (int i = 0; i < 75; ++i)
        EXPECT_LT(MaxDifference((*second)[l][i], DenseRow(rig.shape.layers[l], l, 7, 100 + i)), 2e-5);
    }
    for (int i = 0; i < 30; ++i) {
      auto step = RunBatch(rig, *cache, {{seq, 7}});
      ASSERT_TRUE(step.ok());
      for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
        EXPECT_LT(MaxDifference((*step)[l][0], DenseRow(rig.shape.layers[l], l, 7, 175 + i)), 2e-5) << "layer " << l;
      }
    }
    EXPECT_GT(cache->stats(seq)->counters.recalled, 0);
    EXPECT_GT(cache->stats(seq)->counters.moved_bytes, 0);
  }
}

// The decisions are the same wherever the pages lie: same residents, same bits out of every step.
TEST(MovingTier, StepsEqualTheTierReadInPlace) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto in_place = rig.Make();
  auto moving = rig.Make(&device);
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  for (const WindowExit exit : {WindowExit::kRank, WindowExit::kDrop}) {
    KvOptions o = TestOptions(64);
    o.window_exit = exit;
    // Prefill densely in place on both, so that the states are equal to the bit, then fork into the policy.
    SeqId seq[2];
    KvCache* caches[2] = {in_place.get(), moving.get()};
    for (int i = 0; i < 2; ++i) {
      const SeqId parent = *caches[i]->Create(full);
      ASSERT_TRUE(RunBatch(rig, *caches[i], {{parent, 11, 150, KvPhase::kPrefillLast}}).ok());
      auto fork = caches[i]->Fork(parent, o);
      ASSERT_TRUE(fork.ok()) << fork.status().ToString();
      seq[i] = *fork;
    }
    const KvCounters base[2] = {in_place->stats(seq[0])->counters, moving->stats(seq[1])->counters};
    for (int i = 0; i < 60; ++i) {
      auto a = RunBatch(rig, *in_place, {{seq[0], 11}}), b = RunBatch(rig, *moving, {{seq[1], 11}});
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_EQ(*a, *b) << "step " << i;
    }
    const KvCounters now[2] = {in_place->stats(seq[0])->counters, moving->stats(seq[1])->counters};
    EXPECT_GT(now[0].recalled - base[0].recalled, 0);
    EXPECT_EQ(now[0].recalled - base[0].recalled, now[1].recalled - base[1].recalled);
    EXPECT_EQ(now[0].evicted - base[0].evicted, now[1].evicted - base[1].evicted);
    EXPECT_EQ(now[0].moved_bytes, 0);
  }
}

TEST(MovingTier, HotSlotsAreALimit) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  // Two managed layers, two groups each, 8 + 2 slots of 8 tokens of K and V.
  const int64_t per_sequence = 2 * 2 * (8 + 2) * 8 * (16 + 16) * 2;
  auto cache = rig.Make(&device, 64 << 20, per_sequence + 100);
  ASSERT_TRUE(cache->Create(TestOptions(64)).ok());
  auto second = cache->Create(TestOptions(64));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(device.allocated_bytes(), per_sequence) << "the refused sequence gave everything back";
}

// A thousand steps of random schedules with failing copies: every request either succeeds with the dense answer or
// fails with Unavailable and can be repeated.
TEST(MovingTier, FailedCopiesLoseNothing) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto cache = rig.Make(&device);
  KvOptions o = TestOptions(48);
  o.attend = AttendKind::kAll;
  const SeqId seq = *cache->Create(o);
  Rng rng("faults/1");
  ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, 70, KvPhase::kPrefillLast}}).ok());
  int failures = 0;
  for (int i = 0; i < 120; ++i) {
    device.FailCopyAfter(static_cast<int64_t>(rng.Below(60)));
    const int64_t position = cache->n_tokens(seq);
    auto out = RunBatch(rig, *cache, {{seq, 1}});
    if (!out.ok()) {
      EXPECT_EQ(out.status().kind(), StatusKind::kUnavailable);
      EXPECT_EQ(cache->n_tokens(seq), position);
      ++failures;
      device.FailCopyAfter(-1);
      out = RunBatch(rig, *cache, {{seq, 1}});
      ASSERT_TRUE(out.ok()) << out.status().ToString();
    }
    for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
      EXPECT_LT(MaxDifference((*out)[l][0], DenseRow(rig.shape.layers[l], l, 1, position)), 2e-5);
    }
  }
  EXPECT_GT(failures, 10);
}

// Recalls alone can fail here. A slot that a failed recall kept would be missing soon.
TEST(MovingTier, FailedRecallsGiveTheirSlotsBack) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto cache = rig.Make(&device);
  const SeqId seq = *cache->Create(TestOptions(48));
  Rng rng("faults/2");
  ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, 70, KvPhase::kPrefillLast}}).ok());
  int failures = 0;
  for (int i = 0; i < 400; ++i) {
    device.FailCopyAfter(static_cast<int64_t>(rng.Below(4)));
    auto out = RunBatch(rig, *cache, {{seq, 1}});
    failures += out.ok() ? 0 : 1;
    device.FailCopyAfter(-1);
    if (!out.ok()) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1}}).ok());
    const KvStats stats = *cache->stats(seq);
    ASSERT_EQ(stats.counters.evicted - stats.counters.recalled, stats.evicted_pages_now);
  }
  EXPECT_GT(failures, 40);
}

// A random walk of 10,000 steps with copies in flight at every moment. After each step: hot bytes within the limit,
// filled = resident filled + evicted now, recalled <= evicted. A page that was read before its copy ended would give
// NaN (the fake device fills targets of queued copies with it) and fail the comparison with the tier read in place.
TEST(MovingTier, RandomWalkOfTenThousandSteps) {
  const KvLayerShape layer{.n_q_heads = 2, .n_kv_heads = 2, .head_dim_k = 8, .head_dim_v = 8, .scale = 0.35f};
  CacheTestRig rig({{layer, layer}}, 1);
  FakeDevice device;
  const int64_t hot_limit = 3 * 2 * 2 * (10 + 2) * 16 * (8 + 8) * 2;
  auto moving = rig.Make(&device, 64 << 20, hot_limit);
  auto in_place = rig.Make();
  struct Walker {
    SeqId moving, in_place;
    int seed;
  };
  std::vector<Walker> walkers;
  Rng rng("walk/42");
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  int next_seed = 0, refused = 0, aborted = 0;
  int64_t compared = 0, recalled = 0;
  for (int step = 0; step < 10000; ++step) {
    // Copies run at any time, on either stream, a few at a time.
    for (uint64_t i = rng.Below(4); i > 0; --i) device.RunOne(rng.Below(device.n_streams()));
    if (walkers.empty() || (walkers.size() < 4 && rng.Below(100) == 0)) {
      KvOptions o = TestOptions(0, rng.Below(2) == 0 ? 8 : 16);
      o.dense_layers = 0;
      o.budget_tokens = (6 + static_cast<int64_t>(rng.Below(5))) * o.page_tokens;
      o.window_exit = rng.Below(2) == 0 ? WindowExit::kRank : WindowExit::kDrop;
      o.group_heads = 1 + static_cast<int32_t>(rng.Below(2));
      auto made = moving->Create(o);
      if (!made.ok()) {
        EXPECT_EQ(made.status().kind(), StatusKind::kResourceExhausted);
        ++refused;
      } else {
        walkers.push_back({*made, *in_place->Create(o), next_seed++});
      }
    }
    ASSERT_LE(device.allocated_bytes(), hot_limit);
    if (walkers.empty()) continue;
    const size_t w = rng.Below(walkers.size());
    Walker& walker = walkers[w];
    const uint64_t what = rng.Below(200);
    if (what == 0 || moving->n_tokens(walker.moving) > 600) {
      recalled += moving->stats(walker.moving)->counters.recalled;
      ASSERT_TRUE(moving->Drop(walker.moving).ok());
      ASSERT_TRUE(in_place->Drop(walker.in_place).ok());
      walkers.erase(walkers.begin() + static_cast<int64_t>(w));
      continue;
    }
    if (what < 10) {  // an undone step
      ASSERT_TRUE(RunBatch(rig, *moving, {{walker.moving, walker.seed}}, false).ok());
      ASSERT_TRUE(RunBatch(rig, *in_place, {{walker.in_place, walker.seed}}, false).ok());
      ++aborted;
    }
    auto a = RunBatch(rig, *moving, {{walker.moving, walker.seed}});
    auto b = RunBatch(rig, *in_place, {{walker.in_place, walker.seed}});
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_EQ(*a, *b) << "step " << step;
    ++compared;
    const KvStats stats = *moving->stats(walker.moving);
    const KvCounters& c = stats.counters;
    ASSERT_EQ(c.evicted - c.recalled, stats.evicted_pages_now);
    ASSERT_EQ(c.inserted, stats.resident_pages + stats.evicted_pages_now);
    ASSERT_LE(c.recalled, c.evicted);
    ASSERT_LE(c.backed_up, c.filled);
    ASSERT_EQ(c.recalled, in_place->stats(walker.in_place)->counters.recalled);
  }
  EXPECT_GT(compared, 9000);
  EXPECT_GT(recalled, 1000);
  EXPECT_GT(refused, 0);
  EXPECT_GT(aborted, 100);
}

}  // namespace
}  // namespace arkvale
