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
  struct Case {
    WindowExit exit;
    DigestKind digest;
    DigestType type;
    CombineKind combine;
    int32_t rank_every;
    int64_t zone_tokens = 0;
  };
  const Case cases[] = {
      {WindowExit::kRank, DigestKind::kCuboidMean, DigestType::kF16, CombineKind::kAuto, 1},
      {WindowExit::kDrop, DigestKind::kCuboidMean, DigestType::kF16, CombineKind::kAuto, 1},
      {WindowExit::kRank, DigestKind::kSphereMean, DigestType::kF32, CombineKind::kSoftmaxPinned, 1},
      {WindowExit::kDrop, DigestKind::kCode1, DigestType::kQ8, CombineKind::kMax, 1},
      {WindowExit::kRank, DigestKind::kCode2, DigestType::kF16, CombineKind::kAuto, 1},
      {WindowExit::kRank, DigestKind::kCode2, DigestType::kQ8, CombineKind::kAuto, 3},
      {WindowExit::kRank, DigestKind::kCode2, DigestType::kF16, CombineKind::kAuto, 1, 48},
      {WindowExit::kDrop, DigestKind::kCode2, DigestType::kQ8, CombineKind::kMean, 3, kZoneAll},
  };
  for (const Case& c : cases) {
    KvOptions o = TestOptions(64);
    o.window_exit = c.exit;
    o.digest = c.digest;
    o.digest_type = c.type;
    o.combine = c.combine;
    o.rank_every = c.rank_every;
    o.zone_tokens = c.zone_tokens;
    o.audit_every = 4;
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
    const KvAudit found[2] = {in_place->stats(seq[0])->audit, moving->stats(seq[1])->audit};
    EXPECT_GT(found[0].samples, 0);
    EXPECT_EQ(found[0].samples, found[1].samples);
    EXPECT_EQ(found[0].set_recall_sum, found[1].set_recall_sum);
    EXPECT_EQ(found[0].mass_recall_sum, found[1].mass_recall_sum);
  }
}

// A second prefill reads every page, also those that a step under attend = selected would leave out.
TEST(MovingTier, APrefillIsDenseUnderAttendSelected) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto cache = rig.Make(&device);
  KvOptions o = TestOptions(96);
  o.attend = AttendKind::kSelected;
  const SeqId seq = *cache->Create(o);
  ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 8, 120, KvPhase::kPrefillLast}}).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 8}}).ok());
  auto out = RunBatch(rig, *cache, {{seq, 8, 20, KvPhase::kPrefillLast}});
  ASSERT_TRUE(out.ok());
  for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
    for (int i = 0; i < 20; ++i) {
      EXPECT_LT(MaxDifference((*out)[l][i], DenseRow(rig.shape.layers[l], l, 8, 123 + i)), 2e-5) << l << " " << i;
    }
  }
}

TEST(MovingTier, HotSlotsAreALimit) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  // Two managed layers, two groups each, 8 + 2 slots of 8 tokens of K and V. Dense layers and digests come with tokens.
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

KvOptions RandomOptions(Rng& rng) {
  KvOptions o = TestOptions(0, rng.Below(2) == 0 ? 8 : 16);
  o.dense_layers = 0;
  o.budget_tokens = (6 + static_cast<int64_t>(rng.Below(5))) * o.page_tokens;
  o.window_exit = rng.Below(2) == 0 ? WindowExit::kRank : WindowExit::kDrop;
  o.group_heads = 1 + static_cast<int32_t>(rng.Below(2));
  o.sink_pages = static_cast<int32_t>(rng.Below(3));
  constexpr DigestKind kKinds[] = {DigestKind::kCuboidMean, DigestKind::kCode1, DigestKind::kCode2, DigestKind::kCode2};
  o.digest = kKinds[rng.Below(4)];
  o.digest_type = rng.Below(2) == 0 ? DigestType::kF16 : DigestType::kQ8;
  o.rank_every = rng.Below(2) == 0 ? 1 : 4;
  o.combine = rng.Below(2) == 0 ? CombineKind::kAuto : CombineKind::kSoftmaxPinned;
  o.attend = rng.Below(3) == 0 ? AttendKind::kSelected : AttendKind::kResident;
  return o;
}

// A random walk of 10,000 steps with copies in flight at every moment. After each step: hot bytes within the limit,
// filled = resident filled + evicted now, recalled <= evicted. A page that was read before its copy ended would give
// NaN (the fake device fills targets of queued copies with it) and fail the comparison with the tier read in place.
TEST(MovingTier, RandomWalkOfTenThousandSteps) {
  const KvLayerShape layer{.n_q_heads = 2, .n_kv_heads = 2, .head_dim_k = 8, .head_dim_v = 8, .scale = 0.35f};
  CacheTestRig rig({{layer, layer}}, 1);
  FakeDevice device;
  const int64_t hot_limit = 7 * 2 * 2 * (10 + 2) * 16 * (8 + 8);  // slots of 3.5 large sequences, with their digests
  auto moving = rig.Make(&device, 64 << 20, hot_limit);
  auto in_place = rig.Make();
  struct Walker {
    SeqId moving, in_place;
    int seed;
  };
  std::vector<Walker> walkers;
  Rng rng("walk/42");
  int next_seed = 0, refused = 0, refused_steps = 0, aborted = 0;
  int64_t compared = 0, recalled = 0;
  const auto drop = [&](size_t w) {
    recalled += moving->stats(walkers[w].moving)->counters.recalled;
    ASSERT_TRUE(moving->Drop(walkers[w].moving).ok());
    ASSERT_TRUE(in_place->Drop(walkers[w].in_place).ok());
    walkers.erase(walkers.begin() + static_cast<int64_t>(w));
  };
  for (int step = 0; step < 10000; ++step) {
    // Copies run at any time, on either stream, a few at a time.
    for (uint64_t i = rng.Below(4); i > 0; --i) device.RunOne(rng.Below(device.n_streams()));
    if (walkers.empty() || (walkers.size() < 5 && rng.Below(100) == 0)) {
      const KvOptions o = RandomOptions(rng);
      auto made = moving->Create(o);
      if (!made.ok()) {
        EXPECT_EQ(made.status().kind(), StatusKind::kResourceExhausted);
        ++refused;
      } else {
        walkers.push_back({*made, *in_place->Create(o), next_seed++});
      }
    }
    int64_t hot = 0;
    for (const Walker& w : walkers) {
      const KvStats stats = *moving->stats(w.moving);
      hot += stats.hot_bytes + stats.digest_bytes;
    }
    ASSERT_LE(hot, hot_limit);
    ASSERT_LE(device.allocated_bytes(), hot_limit);
    if (walkers.empty()) continue;
    const size_t w = rng.Below(walkers.size());
    const Walker walker = walkers[w];
    const uint64_t what = rng.Below(200);
    if (what == 0 || moving->n_tokens(walker.moving) > 600) {
      drop(w);
      continue;
    }
    if (what < 10) {  // an undone step
      auto a = RunBatch(rig, *moving, {{walker.moving, walker.seed}}, false);
      if (a.ok()) ASSERT_TRUE(RunBatch(rig, *in_place, {{walker.in_place, walker.seed}}, false).ok());
      ++aborted;
    }
    const int64_t tokens = moving->n_tokens(walker.moving);
    auto a = RunBatch(rig, *moving, {{walker.moving, walker.seed}});
    if (!a.ok()) {  // its next digest does not fit: somebody has to go
      ASSERT_EQ(a.status().kind(), StatusKind::kResourceExhausted);
      ASSERT_EQ(moving->n_tokens(walker.moving), tokens);
      ++refused_steps;
      drop(w);
      continue;
    }
    auto b = RunBatch(rig, *in_place, {{walker.in_place, walker.seed}});
    ASSERT_TRUE(b.ok());
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
  EXPECT_GT(refused_steps, 0);
  EXPECT_GT(aborted, 100);
}

}  // namespace
}  // namespace arkvale
