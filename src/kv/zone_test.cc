// The zone (algorithms 4.4b): pages that a step does not read are estimated from their codes.
#include <gtest/gtest.h>

#include <limits>

#include "kv/cache.h"
#include "kv/cache_reference_test_util.h"
#include "kv/cache_test_util.h"
#include "kv/evict.h"

namespace arkvale {
namespace {

// Keys of code2 are summed up in integers: with d = 16, |q| <= 8 and |w| <= 4 a score is off by at most
// 1.5 * 3 * 16 * 8 * 4 / 31000 = 0.075 (ops/digest.h), so a weight by 2 % of itself under the scale of 0.25; and values
// are at most 2.1. What is met is far below.
constexpr double kTolerance = 0.01;

KvOptions ZoneOptions(int64_t zone_tokens, int32_t value_bits) {
  KvOptions o = TestOptions(64);
  o.digest = DigestKind::kCode2;
  o.dense_layers = 0;
  o.topk.kind = TopkRule::Kind::kAuto;
  o.zone_tokens = zone_tokens;
  o.zone_value_bits = value_bits;
  return o;
}

std::vector<std::vector<float>> Steps(CacheTestRig& rig, KvCache& cache, SeqId seq, int seed, int n) {
  std::vector<std::vector<float>> out;
  for (int i = 0; i < n; ++i) {
    auto rows = RunBatch(rig, cache, {{seq, seed}});
    EXPECT_TRUE(rows.ok()) << rows.status().ToString();
    if (rows.ok()) out.push_back((*rows)[0][0]);
  }
  return out;
}

double SquaredDistance(const std::vector<float>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < b.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

TEST(Zone, StepsEstimateTheBestPagesThatTheyDoNotRead) {
  const KvLayerShape layer = TestShape().layers[0];
  for (const CombineKind combine : {CombineKind::kMean, CombineKind::kSoftmaxPinned}) {
    for (const int32_t group : {1, 2}) {
      for (const int64_t zone : {int64_t{24}, kZoneAll}) {
        KvOptions o = ZoneOptions(zone, group == 1 ? 2 : 4);
        o.combine = combine;
        o.group_heads = group;
        CacheTestRig rig({{layer}});
        auto cache = rig.Make();
        const SeqId seq = *cache->Create(o);
        ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 5, 185, KvPhase::kPrefillLast}}).ok());
        const auto out = Steps(rig, *cache, seq, 5, 10);
        for (int i = 0; i < 10; ++i) {
          const int32_t pages = zone == kZoneAll ? 1000 : static_cast<int32_t>(zone / 8);
          ReferenceStep reference(layer, o, 0, 5, 185 + i);
          const auto what = ::testing::Message() << "combine " << static_cast<int>(combine) << " group " << group
                                                 << " zone " << zone << " step " << i;
          EXPECT_LT(MaxDifference(out[i], reference.Run(2, 2, 4, nullptr, pages).out), kTolerance) << what;
          // A zone of other pages would be seen.
          EXPECT_GT(MaxDifference(out[i], reference.Run(2, 2, 4, nullptr, 0).out), 5 * kTolerance) << what;
          if (zone != kZoneAll) {
            EXPECT_GT(MaxDifference(out[i], reference.Run(2, 2, 4, nullptr, pages - 1).out), kTolerance) << what;
          }
        }
      }
    }
  }
}

TEST(Zone, IsNearerToFullAttentionTheMoreItHolds) {
  const KvLayerShape layer = TestShape().layers[0];
  CacheTestRig rig({{layer}});
  std::vector<double> distances;
  for (const KvOptions& o :
       {ZoneOptions(0, 2), ZoneOptions(64, 4), ZoneOptions(kZoneAll, 2), ZoneOptions(kZoneAll, 4)}) {
    auto cache = rig.Make();
    const SeqId seq = *cache->Create(o);
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 301, KvPhase::kPrefillLast}}).ok());
    double sum = 0;
    const auto out = Steps(rig, *cache, seq, 3, 20);
    for (int i = 0; i < 20; ++i) sum += SquaredDistance(out[i], DenseRow(layer, 0, 3, 301 + i));
    distances.push_back(sum);
  }
  for (size_t i = 1; i < distances.size(); ++i) EXPECT_LT(distances[i], 0.7 * distances[i - 1]) << i;
}

// A sequence that needs no zone does not notice it: within its budget, and in prefills, which are exact.
TEST(Zone, ChangesNothingThatIsRead) {
  CacheTestRig rig(TestShape());
  KvOptions with = ZoneOptions(kZoneAll, 4), without = ZoneOptions(0, 4);
  with.budget_tokens = without.budget_tokens = 256;
  auto a = rig.Make(), b = rig.Make();
  const SeqId x = *a->Create(with), y = *b->Create(without);
  const auto both = [&](const TestItem& item) {
    const auto left = RunBatch(rig, *a, {{x, item.seed, item.n, item.phase}});
    const auto right = RunBatch(rig, *b, {{y, item.seed, item.n, item.phase}});
    ASSERT_TRUE(left.ok() && right.ok());
    EXPECT_EQ(*left, *right);
  };
  both({{}, 4, 150, KvPhase::kPrefillLast});
  for (int i = 0; i < 10; ++i) both({{}, 4, 1, KvPhase::kStep});
  both({{}, 4, 200, KvPhase::kPrefillLast});
  const auto left = RunBatch(rig, *a, {{x, 4}}), right = RunBatch(rig, *b, {{y, 4}});
  EXPECT_NE(*left, *right) << "360 tokens are beyond the budget";
  both({{}, 4, 50, KvPhase::kPrefillLast});
}

// Forks build the codes of what they find in the blocks; an aborted step leaves nothing behind.
TEST(Zone, ForksAndAbortedStepsHaveTheBitsOfASequenceOfTheirOwn) {
  CacheTestRig rig(TestShape());
  auto cache = rig.Make();
  const KvOptions o = ZoneOptions(80, 2);
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  const SeqId own = *cache->Create(o), parent = *cache->Create(full);
  for (const SeqId seq : {own, parent}) {
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 9, 210, KvPhase::kPrefillLast}}).ok());
  }
  const auto fork = cache->Fork(parent, o);
  ASSERT_TRUE(fork.ok()) << fork.status().ToString();
  for (int i = 0; i < 20; ++i) {
    if (i % 5 == 2) ASSERT_TRUE(RunBatch(rig, *cache, {{*fork, 1}}, /*commit=*/false).ok());
    const auto a = RunBatch(rig, *cache, {{own, 9}}), b = RunBatch(rig, *cache, {{*fork, 9}});
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(*a, *b) << "step " << i;
  }
  // A fork without a zone reads what its parent reads, and estimates nothing.
  const auto plain = cache->Fork(own, ZoneOptions(0, 2));
  ASSERT_TRUE(plain.ok());
  EXPECT_LT(cache->stats(*plain)->digest_bytes, cache->stats(own)->digest_bytes);
  EXPECT_NE(*RunBatch(rig, *cache, {{own, 9}}), *RunBatch(rig, *cache, {{*plain, 9}}));
}

// Pages beyond which the zones below are too small a part.
constexpr int64_t kMostPages = 35;

// Items of calls: estimates of all pages of sequences with at most kMostPages, estimates that leave scores of keys,
// zones that read them.
struct KeyScoreItems {
  int ranks_all = 0, leaves = 0, reads = 0;
};
KeyScoreItems key_score_items;

Status CountEstimates(const OpContext& ctx, const DigestScoreArgs& args) {
  for (const DigestScoreItem& item : args.items) {
    key_score_items.ranks_all += item.pages.empty() && item.n_pages <= kMostPages ? 1 : 0;
    key_score_items.leaves += item.key_scores != nullptr ? 1 : 0;
  }
  return CpuOps().digest_score(ctx, args);
}

Status CountZones(const OpContext& ctx, const ZoneAttentionArgs& args) {
  for (const ZoneAttentionItem& item : args.items) key_score_items.reads += item.key_scores != nullptr ? 1 : 0;
  return CpuOps().zone_attention(ctx, args);
}

// Every zone computes its scores itself.
template <typename Item, typename Args>
Status RunAlone(Status (*op)(const OpContext&, const Args&), const OpContext& ctx, Args args) {
  std::vector<Item> items(args.items.begin(), args.items.end());
  for (Item& item : items) item.key_scores = nullptr;
  args.items = items;
  return op(ctx, args);
}
Status EstimateAlone(const OpContext& ctx, const DigestScoreArgs& args) {
  return RunAlone<DigestScoreItem>(CpuOps().digest_score, ctx, args);
}
Status ZoneAlone(const OpContext& ctx, const ZoneAttentionArgs& args) {
  return RunAlone<ZoneAttentionItem>(CpuOps().zone_attention, ctx, args);
}

// A batch of two sequences whose zones are a good part of their pages and one whose zone is not, under the ops of a
// table.
std::vector<std::vector<std::vector<std::vector<float>>>> StepsOfThree(const OpTable& ops, const KvOptions& options) {
  CacheTestRig rig(TestShape());
  OpContext ctx = rig.ctx();
  ctx.ops = &ops;
  const auto cache = *KvCache::Make({.shape = rig.shape, .host_limit_bytes = 64 << 20}, ctx);
  const std::pair<int64_t, int32_t> zones_and_prompts[] = {{40, 131}, {24, 301}, {kZoneAll, 229}};
  std::vector<TestItem> steps;
  for (const auto [zone, prompt] : zones_and_prompts) {
    KvOptions o = options;
    o.zone_tokens = zone;
    steps.push_back({*cache->Create(o), prompt});
    EXPECT_TRUE(RunBatch(rig, *cache, {{steps.back().seq, prompt, prompt, KvPhase::kPrefillLast}}).ok());
  }
  std::vector<std::vector<std::vector<std::vector<float>>>> out;
  key_score_items = {};
  for (int i = 0; i < 12; ++i) {  // every sequence fills and opens pages
    auto rows = RunBatch(rig, *cache, steps);
    EXPECT_TRUE(rows.ok()) << rows.status().ToString();
    if (rows.ok()) out.push_back(std::move(*rows));
  }
  return out;
}

TEST(Zone, ScoresThatTheEstimateLeavesAreReadAndGiveTheSameBits) {
  OpTable counts = CpuOps(), alone = CpuOps();
  counts.digest_score = CountEstimates;
  counts.zone_attention = CountZones;
  alone.digest_score = EstimateAlone;
  alone.zone_attention = ZoneAlone;
  constexpr int kItems = 2 * 12 * 3 * 2;  // sequences, steps, managed layers, kv heads
  for (const CombineKind combine : {CombineKind::kMean, CombineKind::kMax, CombineKind::kSoftmaxPinned}) {
    for (const int32_t group : {1, 2}) {
      for (const int32_t rank_every : {1, 3}) {
        KvOptions o = ZoneOptions(0, 2);
        o.combine = combine;
        o.group_heads = group;
        o.rank_every = rank_every;
        SCOPED_TRACE(::testing::Message() << "combine " << static_cast<int>(combine) << ", groups of " << group
                                          << ", rank-every " << rank_every);
        const auto shared = StepsOfThree(counts, o);
        const KeyScoreItems n = key_score_items;
        EXPECT_EQ(shared, StepsOfThree(alone, o));
        EXPECT_EQ(n.reads, n.leaves);
        EXPECT_EQ(n.leaves, n.ranks_all) << "a shortlist leaves none";
        if (rank_every == 1) {
          EXPECT_EQ(n.leaves, kItems);
        } else {
          EXPECT_GT(n.leaves, kItems / 4);
          EXPECT_LT(n.leaves, kItems / 2);
        }
      }
    }
  }
}

TEST(Zone, ValueCodesAreDigestBytes) {
  const KvLayerShape layer = TestShape().layers[0];
  CacheTestRig rig({{layer}});
  for (const int32_t bits : {2, 4}) {
    auto cache = rig.Make();
    const SeqId with = *cache->Create(ZoneOptions(8, bits)), without = *cache->Create(ZoneOptions(0, bits));
    for (const SeqId seq : {with, without}) {
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 301, KvPhase::kPrefillLast}}).ok());
    }
    const int64_t values = 37 * layer.n_kv_heads * MakeValueCodeLayout(bits, 8, layer.head_dim_v)->page_bytes;
    EXPECT_EQ(cache->stats(with)->digest_bytes - cache->stats(without)->digest_bytes, values);
  }
}

TEST(Zone, AStepReadsItsPagesEveryDigestAndTheZonesValues) {
  const KvLayerShape layer = TestShape().layers[0];
  CacheTestRig rig({{layer}});
  auto cache = rig.Make();
  const int64_t page = int64_t{8} * layer.n_kv_heads * (layer.head_dim_k + layer.head_dim_v) * 2;
  const int64_t digests =
      37 * layer.n_kv_heads * MakeDigestLayout(DigestKind::kCode2, DigestType::kF16, 8, layer.head_dim_k)->bytes();
  const int64_t values = layer.n_kv_heads * MakeValueCodeLayout(2, 8, layer.head_dim_v)->page_bytes;
  KvOptions dense = ZoneOptions(0, 2), all = ZoneOptions(0, 2);
  dense.policy = KvPolicyKind::kFull;
  all.attend = AttendKind::kAll;
  // 301 tokens fill 37 pages; the budget of 8 holds the one that is filling.
  const std::vector<std::pair<KvOptions, int64_t>> expected = {
      {ZoneOptions(0, 2), 8 * page + digests},
      {ZoneOptions(24, 2), 8 * page + digests + 3 * values},
      {ZoneOptions(kZoneAll, 2), 8 * page + digests + 30 * values},
      {all, 38 * page + digests},
      {dense, 301 * page / 8}};
  for (const auto& [options, bytes] : expected) {
    const SeqId seq = *cache->Create(options);
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3, 300, KvPhase::kPrefillLast}}).ok());
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 3}}).ok());
    EXPECT_EQ(cache->stats(seq)->step_bytes, bytes) << "zone " << options.zone_tokens;
  }
}

TEST(LeavesKeyScores, WhereTheZoneIsAGoodPartOfThePages) {
  const PageBudget budget{.pages = 10, .topk = 6, .sinks = 2, .window = 2};
  constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  constexpr int32_t kPages = 12 * kScoredPagesPerZonePage, kZone = kPages / kScoredPagesPerZonePage;
  EXPECT_FALSE(LeavesKeyScores(budget, kPages, 0));
  EXPECT_FALSE(LeavesKeyScores(budget, kPages, kZone - 1));
  EXPECT_TRUE(LeavesKeyScores(budget, kPages, kZone));
  EXPECT_FALSE(LeavesKeyScores(budget, kPages + 1, kZone));
  EXPECT_TRUE(LeavesKeyScores(budget, kPages, kAll));
  // There are no more pages in a zone than outside the budget.
  EXPECT_FALSE(LeavesKeyScores(budget, 11, kAll));
  EXPECT_FALSE(LeavesKeyScores(budget, 10, kAll));
}

TEST(PlanZone, IsTheBestOfWhatIsNotResident) {
  Rng rng("zone");
  for (int round = 0; round < 300; ++round) {
    const PageBudget budget{.pages = 10, .topk = 1 + static_cast<int32_t>(rng.Below(6)), .sinks = 2, .window = 2};
    const auto n_pages = 11 + static_cast<int32_t>(rng.Below(150));
    std::vector<PageState> states(n_pages, PageState::kEvicted);
    for (const int32_t p : {0, 1, n_pages - 2, n_pages - 1}) states[p] = PageState::kResident;
    for (int i = 0; i < 7; ++i) states[2 + rng.Below(n_pages - 4)] = PageState::kResident;
    std::vector<float> scores(n_pages);
    for (float& x : scores) x = static_cast<float>(rng.Below(20));  // ties too
    const ResidencyInput in{.budget = budget,
                            .states = states,
                            .ranking = {scores},
                            .window_exit = rng.Below(2) == 0 ? WindowExit::kRank : WindowExit::kDrop,
                            .page_opened = rng.Below(2) == 0};
    ResidencyPlan plan;
    std::vector<int32_t> zone;
    PlanStep(in, plan);
    for (const int32_t p : plan.evictions) states[p] = PageState::kEvicted;
    for (const int32_t p : plan.recalls) states[p] = PageState::kResident;
    std::vector<int32_t> left;
    for (int32_t p = 2; p < n_pages - 2; ++p) {
      if (!IsHot(states[p])) left.push_back(p);
    }
    std::stable_sort(left.begin(), left.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
    // PlanZone is given the states as they were before the plan.
    std::vector<PageState> before = states;
    for (const int32_t p : plan.recalls) before[p] = PageState::kEvicted;
    for (const int32_t p : plan.evictions) before[p] = PageState::kResident;
    ResidencyInput again = in;
    again.states = before;
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{1000}, std::numeric_limits<int64_t>::max()}) {
      PlanZone(again, n, plan, zone);
      std::vector<int32_t> expected(left.begin(), left.begin() + std::min<int64_t>(n, std::ssize(left)));
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(zone, expected) << "round " << round << ", zone of " << n;
    }
  }
}

}  // namespace
}  // namespace arkvale
