// What the cache reads and reports under each policy, digest and combination.
#include <gtest/gtest.h>

#include "device/fake_device.h"
#include "kv/cache.h"
#include "kv/cache_reference_test_util.h"
#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

constexpr double kTolerance = 2e-5;  // f32 softmax over some hundred tokens of size ~1 against f64

KvOptions QuestOptions(int64_t budget, int32_t page = 8) {
  KvOptions o = TestOptions(budget, page);
  o.policy = KvPolicyKind::kQuest;
  return o;
}

// attend = all is dense whatever the digest, and the digests' bytes are those of the layout.
TEST(CachePolicy, EveryDigestEveryTypeEveryRhythm) {
  const KvLayerShape layer = TestShape().layers[0];
  for (int kind = 0; kind <= static_cast<int>(DigestKind::kCode2); ++kind) {
    for (const DigestType type : {DigestType::kF16, DigestType::kF32, DigestType::kQ8}) {
      for (const int32_t rank_every : {1, 3}) {
        KvOptions o = TestOptions(40);
        o.digest = static_cast<DigestKind>(kind);
        o.digest_type = type;
        o.rank_every = rank_every;
        o.attend = AttendKind::kAll;
        o.dense_layers = 0;
        CacheTestRig rig({{layer}});
        auto cache = rig.Make();
        const SeqId seq = *cache->Create(o);
        ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 301, KvPhase::kPrefillLast}}).ok());
        for (int i = 0; i < 4; ++i) {
          auto out = RunBatch(rig, *cache, {{seq, 3}});
          ASSERT_TRUE(out.ok()) << out.status().ToString();
          EXPECT_LT(MaxDifference((*out)[0][0], DenseRow(layer, 0, 3, 301 + i)), kTolerance);
        }
        const KvStats stats = *cache->stats(seq);
        const auto layout = MakeDigestLayout(o.digest, type, 8, layer.head_dim_k);
        ASSERT_TRUE(layout.ok());
        EXPECT_EQ(stats.digest_bytes, 305 / 8 * layer.n_kv_heads * layout->bytes());
        EXPECT_GT(stats.counters.scored_steps, 0);
      }
    }
  }
}

// Quest and arkvale with every place chosen anew, against choices made in doubles from the formulas.
TEST(CachePolicy, StepsReadWhatTheFormulasChoose) {
  const KvLayerShape layer = TestShape().layers[0];
  for (const KvPolicyKind policy : {KvPolicyKind::kArkvale, KvPolicyKind::kQuest}) {
    for (const CombineKind combine : {CombineKind::kMean, CombineKind::kSoftmaxPinned}) {
      for (const int32_t group : {1, 2}) {
        for (const int32_t sinks : {0, 2}) {
          KvOptions o = TestOptions(64);
          o.policy = policy;
          o.combine = combine;
          o.group_heads = group;
          o.sink_pages = sinks;
          o.digest = DigestKind::kCuboidMax;
          o.dense_layers = 0;
          o.topk.kind = TopkRule::Kind::kAuto;
          o.audit_every = 1;
          CacheTestRig rig({{layer}});
          auto cache = rig.Make();
          const SeqId seq = *cache->Create(o);
          ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 5, 185, KvPhase::kPrefillLast}}).ok());
          KvAudit audit;
          for (int i = 0; i < 10; ++i) {
            auto out = RunBatch(rig, *cache, {{seq, 5}});
            ASSERT_TRUE(out.ok());
            const bool quest = policy == KvPolicyKind::kQuest;
            const StepReference expected =
                ReferenceStep(layer, o, 0, 5, 185 + i).Run(quest ? 0 : sinks, quest ? 1 : 2, quest ? 7 : 8 - sinks - 2);
            EXPECT_LT(MaxDifference((*out)[0][0], expected.out), kTolerance)
                << KvPolicyName(policy) << " combine " << static_cast<int>(combine) << " group " << group << " step "
                << i;
            audit.set_recall_sum += expected.set_recall;
            audit.mass_recall_sum += expected.mass_recall;
          }
          const KvAudit found = cache->stats(seq)->audit;
          EXPECT_EQ(found.samples, 10 * 2 / group);
          EXPECT_NEAR(found.set_recall(), audit.set_recall_sum / 10, 1e-9);
          EXPECT_NEAR(found.mass_recall(), audit.mass_recall_sum / 10, 1e-5);
          EXPECT_LT(found.mass_recall(), 0.999);
        }
      }
    }
  }
}

// The same where all pages are ranked every third step only: at positions that the layer's number decides, and at the
// first step whatever its position.
TEST(CachePolicy, BetweenRankingsTheShortlistIsRanked) {
  const KvLayerShape layer = TestShape().layers[0];
  for (const KvPolicyKind policy : {KvPolicyKind::kArkvale, KvPolicyKind::kQuest}) {
    for (const CombineKind combine : {CombineKind::kMean, CombineKind::kSoftmaxPinned}) {
      KvOptions o = TestOptions(48);
      o.policy = policy;
      o.combine = combine;
      o.digest = DigestKind::kCuboidMax;
      o.dense_layers = 0;
      o.topk.kind = TopkRule::Kind::kAuto;
      o.rank_every = 3;
      CacheTestRig rig({{layer, layer}});
      auto cache = rig.Make();
      const SeqId seq = *cache->Create(o);
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 5, 186, KvPhase::kPrefillLast}}).ok());
      const bool quest = policy == KvPolicyKind::kQuest;
      const int32_t k = quest ? 5 : 2;
      ReferenceShortlist shortlists[2];
      int differ = 0;
      for (int i = 0; i < 24; ++i) {
        const auto out = *RunBatch(rig, *cache, {{seq, 5}});
        for (int l = 0; l < 2; ++l) {
          shortlists[l].ranks_all = i == 0 || (187 + i) % 3 == l;
          shortlists[l].size = 2 * k;
          ReferenceStep reference(layer, o, l, 5, 186 + i);
          const auto expected = reference.Run(quest ? 0 : 2, quest ? 1 : 2, k, &shortlists[l]).out;
          EXPECT_LT(MaxDifference(out[l][0], expected), kTolerance)
              << KvPolicyName(policy) << " combine " << static_cast<int>(combine) << " layer " << l << " step " << i;
          const auto every_step = ReferenceStep(layer, o, l, 5, 186 + i).Run(quest ? 0 : 2, quest ? 1 : 2, k).out;
          differ += MaxDifference(out[l][0], every_step) > kTolerance ? 1 : 0;
        }
      }
      EXPECT_GT(differ, 0) << "the test must be able to see the shortlist";
    }
  }
}

// A step that is undone after it has ranked all pages by another query leaves no trace.
TEST(CachePolicy, AbortBringsTheShortlistBack) {
  const KvLayerShape layer = TestShape().layers[0];
  KvOptions o = TestOptions(48);
  o.digest = DigestKind::kCuboidMax;
  o.dense_layers = 0;
  o.topk.kind = TopkRule::Kind::kAuto;
  o.rank_every = 4;
  CacheTestRig rig({{layer}});
  auto cache = rig.Make();
  const SeqId seq = *cache->Create(o), undisturbed = *cache->Create(o);
  for (const SeqId id : {seq, undisturbed}) {
    ASSERT_TRUE(RunBatch(rig, *cache, {{id, 5, 185, KvPhase::kPrefillLast}}).ok());
  }
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 6}}, /*commit=*/false).ok()) << "another token";
    EXPECT_EQ(*RunBatch(rig, *cache, {{seq, 5}}), *RunBatch(rig, *cache, {{undisturbed, 5}})) << i;
  }
}

TEST(CachePolicy, QuestKeepsEverythingHot) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  const SeqId seq = *cache->Create(QuestOptions(40));
  ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 2, 160, KvPhase::kPrefillLast}}).ok());
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 2}}).ok());
  const KvStats stats = *cache->stats(seq);
  EXPECT_EQ(stats.hot_bytes, stats.full_bytes) << "168 tokens fill their pages";
  EXPECT_EQ(stats.evicted_pages_now, 0);
  EXPECT_EQ(stats.counters.evicted, 0);
  EXPECT_EQ(stats.counters.recalled, 0);
  EXPECT_EQ(stats.counters.scored_steps, 8 * 2 * 2);
  EXPECT_EQ(stats.counters.selected_pages, 8 * 2 * 2 * 4);
}

TEST(CachePolicy, QuestIsDenseWithinItsPagesAndUnderAttendAll) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  KvOptions all = QuestOptions(40);
  all.attend = AttendKind::kAll;
  const SeqId dense = *cache->Create(full), within = *cache->Create(QuestOptions(128)), read_all = *cache->Create(all);
  for (const SeqId seq : {dense, within, read_all}) {
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 9, 120, KvPhase::kPrefillLast}}).ok());
  }
  for (int i = 0; i < 8; ++i) {
    const auto expected = *RunBatch(rig, *cache, {{dense, 9}});
    EXPECT_EQ(*RunBatch(rig, *cache, {{within, 9}}), expected);
    const auto out = *RunBatch(rig, *cache, {{read_all, 9}});
    for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
      EXPECT_LT(MaxDifference(out[l][0], DenseRow(rig.shape.layers[l], l, 9, 120 + i)), kTolerance);
    }
  }
  EXPECT_EQ(cache->stats(within)->counters.scored_steps, 0);
  EXPECT_GT(cache->stats(read_all)->counters.scored_steps, 0);
}

TEST(CachePolicy, QuestIsRefusedWhereBytesMove) {
  CacheTestRig rig(TestShape());
  FakeDevice device;
  auto cache = rig.Make(&device);
  const auto made = cache->Create(QuestOptions(64));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(made.status().message().find("policy quest"), std::string::npos) << made.status().message();
}

TEST(CachePolicy, SoftcapReachesPrefillStepsAndEvictedPages) {
  for (const bool moves : {false, true}) {
    KvShape shape = TestShape();
    for (KvLayerShape& layer : shape.layers) layer.softcap = 1.5f;
    CacheTestRig rig(shape);
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    KvOptions o = TestOptions(64);
    o.attend = AttendKind::kAll;
    o.combine = CombineKind::kSoftmaxPinned;
    const SeqId seq = *cache->Create(o);
    auto prefill = RunBatch(rig, *cache, {{seq, 6, 130, KvPhase::kPrefillLast}});
    ASSERT_TRUE(prefill.ok());
    for (int i = 0; i < 4; ++i) {
      auto step = RunBatch(rig, *cache, {{seq, 6}});
      ASSERT_TRUE(step.ok());
      for (int32_t l = 0; l < shape.n_layers(); ++l) {
        EXPECT_LT(MaxDifference((*step)[l][0], DenseRow(shape.layers[l], l, 6, 130 + i)), kTolerance) << l;
        EXPECT_LT(MaxDifference((*prefill)[l][100 + i], DenseRow(shape.layers[l], l, 6, 100 + i)), kTolerance) << l;
      }
    }
  }
}

TEST(CachePolicy, AutoBudgetIsRefused) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  EXPECT_EQ(cache->Create(TestOptions(kAutoBudget)).status().kind(), StatusKind::kInvalidArgument);
}

TEST(CachePolicy, AnAuditChangesNoBit) {
  for (Device* hot : {static_cast<Device*>(nullptr), static_cast<Device*>(new FakeDevice)}) {
    std::unique_ptr<Device> owner(hot);
    CacheTestRig rig(TestShape());
    auto cache = rig.Make(hot);
    KvOptions o = TestOptions(64);
    o.digest = DigestKind::kCode2;
    o.digest_type = DigestType::kQ8;
    const SeqId plain = *cache->Create(o);
    o.audit_every = 3;
    const SeqId audited = *cache->Create(o);
    for (const SeqId seq : {plain, audited}) {
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 4, 130, KvPhase::kPrefillLast}}).ok());
    }
    for (int i = 0; i < 12; ++i)
      EXPECT_EQ(*RunBatch(rig, *cache, {{plain, 4}}), *RunBatch(rig, *cache, {{audited, 4}}));
    const KvStats a = *cache->stats(plain), b = *cache->stats(audited);
    EXPECT_EQ(a.audit.samples, 0);
    EXPECT_EQ(b.audit.samples, 12 / 3 * 2 * 2) << "two managed layers of two groups, every third step";
    EXPECT_EQ(a.counters.recalled, b.counters.recalled);
    EXPECT_EQ(a.resident_pages, b.resident_pages);
    EXPECT_GT(b.audit.set_recall(), 0.3);
    EXPECT_LE(b.audit.set_recall(), 1.0);
    EXPECT_GT(b.audit.mass_recall(), 0.2);
    EXPECT_LT(b.audit.mass_recall(), 1.0);
    EXPECT_GT(cache->timings().audit_ns, 0);
    cache.reset();
  }
}

}  // namespace
}  // namespace arkvale
