#include "kv/cache.h"

#include <gtest/gtest.h>

#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

using Out = std::vector<std::vector<std::vector<float>>>;

constexpr double kTolerance = 2e-5;  // f32 softmax over some hundred tokens of size ~1 against f64

void ExpectDense(const CacheTestRig& rig, const Out& out, int seed, int64_t position0, size_t first_row = 0,
                 int64_t n = -1) {
  for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
    const int64_t rows = n < 0 ? static_cast<int64_t>(out[l].size()) : n;
    for (int64_t i = 0; i < rows; ++i) {
      EXPECT_LT(MaxDifference(out[l][first_row + i], DenseRow(rig.shape.layers[l], l, seed, position0 + i)), kTolerance)
          << "layer " << l << " position " << position0 + i;
    }
  }
}

TEST(KvCache, PrefillAndStepsAreDenseAttention) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  const SeqId seq = *cache->Create(full);
  auto prefill = RunBatch(rig, *cache, {{seq, 1, 100, KvPhase::kPrefillLast}});
  ASSERT_TRUE(prefill.ok());
  ExpectDense(rig, *prefill, 1, 0);
  for (int i = 0; i < 3; ++i) {
    auto step = RunBatch(rig, *cache, {{seq, 1}});
    ASSERT_TRUE(step.ok());
    ExpectDense(rig, *step, 1, 100 + i);
  }
  EXPECT_EQ(cache->n_tokens(seq), 103);
}

TEST(KvCache, ChunksOfAnySizeGiveTheSameBits) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  constexpr int64_t kTokens = 150;
  Out whole;
  for (const int32_t chunk : {150, 1, 7, 64}) {
    const SeqId seq = *cache->Create(TestOptions(64));
    Out joined(rig.shape.n_layers());
    for (int64_t at = 0; at < kTokens; at += chunk) {
      const auto n = static_cast<int32_t>(std::min<int64_t>(chunk, kTokens - at));
      auto out = RunBatch(rig, *cache, {{seq, 4, n, at + n == kTokens ? KvPhase::kPrefillLast : KvPhase::kPrefill}});
      ASSERT_TRUE(out.ok());
      for (size_t l = 0; l < joined.size(); ++l) joined[l].insert(joined[l].end(), (*out)[l].begin(), (*out)[l].end());
    }
    // And the state after it: the next steps under the budget.
    for (int i = 0; i < 5; ++i) {
      auto out = RunBatch(rig, *cache, {{seq, 4}});
      ASSERT_TRUE(out.ok());
      for (size_t l = 0; l < joined.size(); ++l) joined[l].push_back((*out)[l][0]);
    }
    if (chunk == 150) whole = joined;
    EXPECT_EQ(joined, whole) << "chunk " << chunk;
    EXPECT_TRUE(cache->Drop(seq).ok());
  }
}

TEST(KvCache, ARowDoesNotDependOnTheRestOfTheBatchNorOnThreads) {
  const int32_t lengths[] = {33, 120, 77};
  Out alone[3];
  for (int i = 0; i < 3; ++i) {
    CacheTestRig rig(TestShape(), 1);
    auto cache = rig.Make();
    const SeqId seq = *cache->Create(TestOptions(64));
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, i, lengths[i], KvPhase::kPrefillLast}}).ok());
    alone[i] = *RunBatch(rig, *cache, {{seq, i}});
  }
  CacheTestRig rig(TestShape(), 2);
  auto cache = rig.Make();
  SeqId seqs[3];
  for (int i = 0; i < 3; ++i) seqs[i] = *cache->Create(TestOptions(64));
  // Two prefill together with different lengths, then the third beside a step, then all three step.
  ASSERT_TRUE(
      RunBatch(rig, *cache, {{seqs[0], 0, 33, KvPhase::kPrefillLast}, {seqs[1], 1, 120, KvPhase::kPrefillLast}}).ok());
  ASSERT_TRUE(RunBatch(rig, *cache, {{seqs[2], 2, 77, KvPhase::kPrefillLast}}).ok());
  auto together = RunBatch(rig, *cache, {{seqs[0], 0}, {seqs[1], 1}, {seqs[2], 2}});
  ASSERT_TRUE(together.ok());
  for (int i = 0; i < 3; ++i) {
    for (size_t l = 0; l < alone[i].size(); ++l) EXPECT_EQ((*together)[l][i], alone[i][l][0]) << i << " layer " << l;
  }
}

TEST(KvCache, WithinTheBudgetNothingIsScoredAndBitsEqualFull) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  const SeqId a = *cache->Create(full), b = *cache->Create(TestOptions(128));
  for (const SeqId seq : {a, b}) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 9, 120, KvPhase::kPrefillLast}}).ok());
  for (int i = 0; i < 8; ++i) EXPECT_EQ(*RunBatch(rig, *cache, {{a, 9}}), *RunBatch(rig, *cache, {{b, 9}}));
  EXPECT_EQ(cache->stats(b)->counters.scored_steps, 0);
  EXPECT_EQ(cache->stats(b)->counters.evicted, 0);
  // One token further the budget is exceeded: the counter can move.
  ASSERT_TRUE(RunBatch(rig, *cache, {{b, 9}}).ok());
  EXPECT_GT(cache->stats(b)->counters.scored_steps, 0);
}

TEST(KvCache, AttendAllIsDenseThoughPagesAreEvicted) {
  for (const CombineKind combine : {CombineKind::kMean, CombineKind::kMax, CombineKind::kSoftmaxMean}) {
    for (const int32_t group : {1, 2}) {
      CacheTestRig rig(TestShape());
      auto cache = rig.Make();
      KvOptions o = TestOptions(64);
      o.attend = AttendKind::kAll;
      o.combine = combine;
      o.group_heads = group;
      const SeqId seq = *cache->Create(o);
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 200, KvPhase::kPrefillLast}}).ok());
      for (int i = 0; i < 20; ++i) {
        auto out = RunBatch(rig, *cache, {{seq, 3}});
        ASSERT_TRUE(out.ok());
        ExpectDense(rig, *out, 3, 200 + i);
      }
      const KvStats stats = *cache->stats(seq);
      EXPECT_GT(stats.evicted_pages_now, 0);
      EXPECT_GT(stats.counters.recalled, 0) << "the themes of the keys should bring pages back";
    }
  }
}

TEST(KvCache, AttendSelectedReadsLessThanResident) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions o = TestOptions(128);
  const SeqId resident = *cache->Create(o);
  o.attend = AttendKind::kSelected;
  const SeqId selected = *cache->Create(o);
  o.topk.kind = TopkRule::Kind::kAuto;  // every place chosen anew: selected and resident are then the same set
  const SeqId auto_selected = *cache->Create(o);
  o.attend = AttendKind::kResident;
  const SeqId auto_resident = *cache->Create(o);
  const SeqId all[] = {resident, selected, auto_selected, auto_resident};
  for (const SeqId seq : all) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 200, KvPhase::kPrefillLast}}).ok());
  Out out[4];
  for (int i = 0; i < 4; ++i) out[i] = *RunBatch(rig, *cache, {{all[i], 3}});
  EXPECT_NE(out[0][1], out[1][1]);
  EXPECT_EQ(out[2], out[3]);
}

TEST(KvCache, ForkSharesBlocksAndCopiesOnWrite) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  const SeqId parent = *cache->Create(full);
  ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 5, 100, KvPhase::kPrefillLast}}).ok());
  const SeqId child = *cache->Fork(parent, full);
  // The two go different ways from token 100 on; the parent must stay itself though the child writes after it.
  for (int i = 0; i < 40; ++i) {
    auto out = RunBatch(rig, *cache, {{parent, 5}});
    ASSERT_TRUE(out.ok());
    ExpectDense(rig, *out, 5, 100 + i);
    ASSERT_TRUE(RunBatch(rig, *cache, {{child, 6}}).ok());
  }
  EXPECT_TRUE(cache->Drop(parent).ok());
  EXPECT_TRUE(RunBatch(rig, *cache, {{child, 6}}).ok());
  EXPECT_TRUE(cache->Drop(child).ok());
  EXPECT_FALSE(cache->Drop(child).ok());
}

TEST(KvCache, AForkIntoAPolicyEqualsAFreshRunOfIt) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  const SeqId parent = *cache->Create(full);
  ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 5, 190, KvPhase::kPrefillLast}}).ok());
  for (const int32_t page : {8, 16}) {
    KvOptions o = TestOptions(128, page);
    o.digest = page == 8 ? DigestKind::kCuboidMean : DigestKind::kSphereMax;
    const SeqId fork = *cache->Fork(parent, o), fresh = *cache->Create(o);
    ASSERT_TRUE(RunBatch(rig, *cache, {{fresh, 5, 190, KvPhase::kPrefillLast}}).ok());
    for (int i = 0; i < 20; ++i) EXPECT_EQ(*RunBatch(rig, *cache, {{fork, 5}}), *RunBatch(rig, *cache, {{fresh, 5}}));
    EXPECT_EQ(cache->stats(fork)->counters.recalled, cache->stats(fresh)->counters.recalled);
  }
}

TEST(KvCache, AbortLeavesTokensPagesAndDigestsAsBefore) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  const SeqId a = *cache->Create(TestOptions(64)), b = *cache->Create(TestOptions(64));
  for (const SeqId seq : {a, b}) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 2, 125, KvPhase::kPrefillLast}}).ok());
  const KvStats before = *cache->stats(a);
  for (int i = 0; i < 12; ++i) {  // crosses page turns: 125..137
    ASSERT_TRUE(RunBatch(rig, *cache, {{a, 2, 30, KvPhase::kPrefill}}, /*commit=*/false).ok());
    ASSERT_TRUE(RunBatch(rig, *cache, {{a, 2}}, /*commit=*/false).ok());
    EXPECT_EQ(cache->n_tokens(a), 125 + i);
    auto out_a = RunBatch(rig, *cache, {{a, 2}}), out_b = RunBatch(rig, *cache, {{b, 2}});
    ASSERT_TRUE(out_a.ok());
    // Every place is not chosen anew here (paper's k), so which old pages stayed may differ: compare what must not.
    for (const int l : {0, 3}) EXPECT_EQ((*out_a)[l], (*out_b)[l]);
  }
  const KvStats after = *cache->stats(a);
  EXPECT_EQ(after.counters.filled - before.counters.filled, cache->stats(b)->counters.filled - before.counters.filled);
  EXPECT_EQ(after.digest_bytes, cache->stats(b)->digest_bytes);
  EXPECT_EQ(after.total_bytes, cache->stats(b)->total_bytes);
  EXPECT_EQ(after.counters.evicted - after.counters.recalled, after.evicted_pages_now);
}

TEST(KvCache, SlidingLayersKeepARing) {
  KvShape shape = TestShape();
  shape.layers.erase(shape.layers.begin(), shape.layers.begin() + 3);
  CacheTestRig rig(shape);
  auto cache = rig.Make();
  const SeqId seq = *cache->Create(TestOptions(0));
  ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1, 500, KvPhase::kPrefillLast}}).ok());
  auto chunk = RunBatch(rig, *cache, {{seq, 1, 130, KvPhase::kPrefillLast}});
  ASSERT_TRUE(chunk.ok());
  ExpectDense(rig, *chunk, 1, 500);
  auto step = RunBatch(rig, *cache, {{seq, 1}});
  ExpectDense(rig, *step, 1, 630);
  const int64_t block = 64 * 2 * (16 + 16) * 2;
  EXPECT_LE(cache->stats(seq)->total_bytes, 2 * block) << "window 40: at most two blocks of 64";
}

TEST(KvCache, BeginFailsBeforeAnyLayerIsTouched) {
  CacheTestRig rig(TestShape());
  const int64_t block = 64 * 2 * (16 + 16) * 2;
  auto cache = rig.Make(nullptr, /*host_limit=*/block * 4 * 2);  // two blocks a layer
  const SeqId a = *cache->Create(TestOptions(64)), b = *cache->Create(TestOptions(64));
  ASSERT_TRUE(RunBatch(rig, *cache, {{a, 1, 60, KvPhase::kPrefillLast}}).ok());
  auto too_long = RunBatch(rig, *cache, {{a, 1}, {b, 2, 90, KvPhase::kPrefillLast}});
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.status().kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(cache->n_tokens(a), 60);
  auto out = RunBatch(rig, *cache, {{a, 1}, {b, 2, 40, KvPhase::kPrefillLast}});  // what fits still runs
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  ExpectDense(rig, *out, 1, 60, 0, 1);
  ExpectDense(rig, *out, 2, 0, 1, 40);
}

TEST(KvCache, BadBatchesAreRefused) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  const SeqId a = *cache->Create(TestOptions(64));
  const auto begin = [&](std::vector<KvBatchItem> items) { return cache->Begin(items).kind(); };
  EXPECT_EQ(begin({}), StatusKind::kInvalidArgument);
  EXPECT_EQ(begin({{SeqId(99), 1, KvPhase::kStep}}), StatusKind::kNotFound);
  EXPECT_EQ(begin({{a, 2, KvPhase::kStep}}), StatusKind::kInvalidArgument);
  EXPECT_EQ(begin({{a, 0, KvPhase::kPrefill}}), StatusKind::kInvalidArgument);
  EXPECT_EQ(begin({{a, 1, KvPhase::kStep}, {a, 1, KvPhase::kStep}}), StatusKind::kInvalidArgument);
  KvOptions bad = TestOptions(32);  // 4 pages of 8 < 2 sinks + 2 window + 1
  EXPECT_EQ(cache->Create(bad).status().kind(), StatusKind::kInvalidArgument);
}

}  // namespace
}  // namespace arkvale
