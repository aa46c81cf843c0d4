// The cache with quantised K and V: what it stores, what it counts, and that nothing else changes.
#include <gtest/gtest.h>

#include "device/fake_device.h"
#include "kv/cache_test_util.h"
#include "kv/hot_bytes.h"
#include "ops/quantised_test_util.h"

namespace arkvale {
namespace {

// As TestShape, with head dims of one block for K and two for V.
KvShape QuantisedShape(DType type) {
  KvShape shape = TestShape();
  for (KvLayerShape& layer : shape.layers) {
    layer.head_dim_k = 32;
    layer.head_dim_v = 64;
  }
  shape.dtype = type;
  return shape;
}

KvOptions Full() {
  KvOptions o;
  o.policy = KvPolicyKind::kFull;
  return o;
}

std::vector<float> Quantised(DType type, const char* what, int seed, int layer, int64_t position, int n_heads,
                             int dim) {
  auto row = CacheTestRig::Values(what, seed, layer, position, n_heads * dim);
  test::QuantiseRows(type, row.data(), n_heads, dim);
  return row;
}

// Dense attention of one position in doubles over K and V as `type` keeps them.
std::vector<double> DenseRow(DType type, const KvLayerShape& s, int layer, int seed, int64_t position) {
  const auto q = CacheTestRig::Values("q", seed, layer, position, s.n_q_heads * s.head_dim_k);
  const int64_t from = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  std::vector<double> out(s.n_q_heads * s.head_dim_v, 0.0), sums(s.n_q_heads, 0.0);
  for (int64_t t = from; t <= position; ++t) {
    const auto k = Quantised(type, "k", seed, layer, t, s.n_kv_heads, s.head_dim_k);
    const auto v = Quantised(type, "v", seed, layer, t, s.n_kv_heads, s.head_dim_v);
    for (int h = 0; h < s.n_q_heads; ++h) {
      const int kv = h / s.q_per_kv();
      double dot = 0;
      for (int d = 0; d < s.head_dim_k; ++d) dot += double{q[h * s.head_dim_k + d]} * k[kv * s.head_dim_k + d];
      const double weight = std::exp(s.scale * dot);
      sums[h] += weight;
      for (int d = 0; d < s.head_dim_v; ++d) out[h * s.head_dim_v + d] += weight * v[kv * s.head_dim_v + d];
    }
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] /= sums[i / s.head_dim_v];
  return out;
}

class QuantisedCache : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, QuantisedCache, testing::ValuesIn(test::kQuantTypes), test::QuantTypeName);

TEST_P(QuantisedCache, PrefillAndStepsAreDenseOnBothTiers) {
  for (const bool moves : {false, true}) {
    CacheTestRig rig(QuantisedShape(GetParam()));
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    KvOptions o = TestOptions(48);
    o.attend = AttendKind::kAll;
    const SeqId seq = *cache->Create(o);
    auto prefill = RunBatch(rig, *cache, {{seq, 5, 131, KvPhase::kPrefillLast}});
    ASSERT_TRUE(prefill.ok()) << prefill.status().ToString();
    for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
      for (const int i : {0, 1, 63, 64, 130}) {
        EXPECT_LT(MaxDifference((*prefill)[l][i], DenseRow(GetParam(), rig.shape.layers[l], l, 5, i)), 3e-5)
            << l << " " << i;
      }
    }
    for (int i = 0; i < 12; ++i) {
      auto step = RunBatch(rig, *cache, {{seq, 5}});
      ASSERT_TRUE(step.ok());
      for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
        EXPECT_LT(MaxDifference((*step)[l][0], DenseRow(GetParam(), rig.shape.layers[l], l, 5, 131 + i)), 3e-5)
            << "layer " << l;
      }
    }
    EXPECT_GT(cache->stats(seq)->evicted_pages_now, 0);
  }
}

TEST_P(QuantisedCache, ABudgetForEverythingIsFullToTheBit) {
  CacheTestRig rig(QuantisedShape(GetParam()));
  auto cache = rig.Make();
  for (const int32_t page : {8, 64}) {
    const SeqId full = *cache->Create(Full()), budget = *cache->Create(TestOptions(512, page));
    for (const TestItem item : {TestItem{{}, 2, 77, KvPhase::kPrefillLast}, TestItem{{}, 2}, TestItem{{}, 2}}) {
      TestItem a = item, b = item;
      a.seq = full;
      b.seq = budget;
      auto x = RunBatch(rig, *cache, {a}), y = RunBatch(rig, *cache, {b});
      ASSERT_TRUE(x.ok() && y.ok());
      EXPECT_EQ(*x, *y);
    }
  }
}

TEST_P(QuantisedCache, RowsDoNotDependOnChunkBatchOrThreads) {
  CacheTestRig one(QuantisedShape(GetParam()), 1), two(QuantisedShape(GetParam()), 2);
  auto a = one.Make(), b = two.Make();
  const KvOptions o = TestOptions(48);
  const SeqId alone = *a->Create(o), shared = *b->Create(o), other = *b->Create(Full());
  auto whole = RunBatch(one, *a, {{alone, 3, 101, KvPhase::kPrefillLast}});
  ASSERT_TRUE(whole.ok());
  int64_t done = 0;
  for (const int32_t n : {1, 37, 63}) {
    const KvPhase phase = done + n == 101 ? KvPhase::kPrefillLast : KvPhase::kPrefill;
    auto chunk = RunBatch(two, *b, {{other, 9, 5, KvPhase::kPrefill}, {shared, 3, n, phase}});
    ASSERT_TRUE(chunk.ok());
    for (int32_t l = 0; l < one.shape.n_layers(); ++l) {
      for (int32_t i = 0; i < n; ++i) EXPECT_EQ((*chunk)[l][5 + i], (*whole)[l][done + i]) << l << " " << done + i;
    }
    done += n;
  }
  for (int i = 0; i < 20; ++i) {
    auto x = RunBatch(one, *a, {{alone, 3}});
    auto y = RunBatch(two, *b, {{other, 9}, {shared, 3}});
    ASSERT_TRUE(x.ok() && y.ok());
    for (int32_t l = 0; l < one.shape.n_layers(); ++l) EXPECT_EQ((*x)[l][0], (*y)[l][1]);
  }
}

// Steps, undone steps and forks at random: a tier that moves bytes gives the bits of RAM read in place.
TEST_P(QuantisedCache, TiersAgreeOnARandomWalkWithForksAndAborts) {
  CacheTestRig rig(QuantisedShape(GetParam()));
  FakeDevice device;
  std::unique_ptr<KvCache> caches[2] = {rig.Make(), rig.Make(&device)};
  Rng rng("walk_quantised/1");
  SeqId parent[2], seq[2];
  for (int i = 0; i < 2; ++i) {
    parent[i] = *caches[i]->Create(Full());
    ASSERT_TRUE(RunBatch(rig, *caches[i], {{parent[i], 4, 90, KvPhase::kPrefillLast}}).ok());
    seq[i] = *caches[i]->Fork(parent[i], TestOptions(48));
  }
  int64_t recalled = 0;
  for (int step = 0; step < 400; ++step) {
    for (uint64_t i = rng.Below(4); i > 0; --i) device.RunOne(rng.Below(device.n_streams()));
    const uint64_t what = rng.Below(40);
    if (what == 0) {  // from a sequence under a policy, or from the dense one
      KvOptions o = TestOptions(48 + 16 * static_cast<int64_t>(rng.Below(3)), rng.Below(2) == 0 ? 8 : 16);
      o.budget_tokens = std::max<int64_t>(o.budget_tokens, 6 * o.page_tokens);
      o.group_heads = 1 + static_cast<int32_t>(rng.Below(2));
      o.digest = rng.Below(2) == 0 ? DigestKind::kCode2 : DigestKind::kCuboidMean;
      const bool dense = rng.Below(2) == 0;
      recalled += caches[1]->stats(seq[1])->counters.recalled;
      for (int i = 0; i < 2; ++i) {
        auto fork = caches[i]->Fork(dense ? parent[i] : seq[i], o);
        ASSERT_TRUE(fork.ok()) << fork.status().ToString();
        ASSERT_TRUE(caches[i]->Drop(seq[i]).ok());
        seq[i] = *fork;
      }
      continue;
    }
    const bool commit = what > 4;
    auto a = RunBatch(rig, *caches[0], {{seq[0], 4}}, commit), b = RunBatch(rig, *caches[1], {{seq[1], 4}}, commit);
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_EQ(*a, *b) << "step " << step;
  }
  EXPECT_GT(recalled, 50);
  EXPECT_GT(caches[1]->stats(seq[1])->counters.moved_bytes, 0);
}

// 8.5 or 4.5 bits per element wherever bytes are counted.
TEST_P(QuantisedCache, CountsItsOwnBytes) {
  CacheTestRig rig(QuantisedShape(GetParam()));
  const int64_t block = GetParam() == DType::kQ8 ? 34 : 18;
  const int64_t token = 2 * (block + 2 * block);  // of a layer: 2 heads, K of 32 and V of 64 elements
  EXPECT_EQ(rig.shape.layers[0].token_bytes(GetParam()), token);
  EXPECT_EQ(rig.shape.layers[0].token_bytes(DType::kF16), 2 * (64 + 128));
  for (const bool moves : {false, true}) {
    FakeDevice device;
    auto cache = rig.Make(moves ? &device : nullptr);
    const KvOptions o = TestOptions(64);
    const SeqId seq = *cache->Create(o);
    if (moves) EXPECT_EQ(device.allocated_bytes(), 2 * (8 + 2) * 8 * token) << "two layers of 10 slots for each group";
    ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 6, 150, KvPhase::kPrefillLast}}).ok());
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 6}}).ok());
    const KvStats stats = *cache->stats(seq);
    EXPECT_EQ(cache->FullBytes(190), token * (3 * 190 + 40));
    EXPECT_EQ(stats.full_bytes, cache->FullBytes(190));
    EXPECT_EQ(stats.hot_bytes + stats.digest_bytes, HotBytes(rig.shape, o, 190, !moves));
    EXPECT_EQ(stats.counters.recalled_bytes, stats.counters.recalled * 8 * token / 2) << "a page of one head";
    EXPECT_GT(stats.counters.recalled, 0);
    if (!moves) EXPECT_EQ(stats.hot_bytes, token * (190 + 2 * 64 + 40));
  }
  EXPECT_LE(HotBytes(rig.shape, TestOptions(*BudgetForHotBytes(rig.shape, TestOptions(0), 700, 400000)), 700, true),
            400000);
}

TEST_P(QuantisedCache, RefusesShapesThatItCannotKeep) {
  CacheTestRig rig(TestShape());
  const auto message = [&](DType dtype) {
    KvCache::Config config;
    config.shape = rig.shape;
    config.shape.dtype = dtype;
    rig.context = rig.ctx();
    const auto cache = KvCache::Make(config, rig.context);
    EXPECT_EQ(cache.status().kind(), StatusKind::kInvalidArgument);
    return cache.status().message();
  };
  EXPECT_EQ(message(GetParam()), "head dim 16 is no multiple of 32, the block of " +
                                     std::string(DTypeName(GetParam())) + ": use --kv-type f16 for this model");
  EXPECT_EQ(message(DType::kF32), "K and V of type f32 are not supported: f16, q8_0 or q4_0");
}

}  // namespace
}  // namespace arkvale
