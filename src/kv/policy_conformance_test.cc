// What every policy must do, whatever it keeps: the same bits in any batch, chunk and number of threads, forks like
// fresh runs, an undo that undoes, blocks given back, and what it promises (policy_promises.h).
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "kv/block_pool.h"
#include "kv/cache.h"
#include "kv/cache_test_util.h"
#include "kv/hot_bytes.h"
#include "kv/policy_promises.h"

namespace arkvale {
namespace {

using Rows = std::vector<std::vector<std::vector<float>>>;  // [layer][row]

constexpr int64_t kBudget = 64;
constexpr int32_t kManaged = 2;  // layers of TestShape() under TestOptions()

struct Case {
  std::string name;
  KvOptions options;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, KvPolicyKind policy) -> KvOptions& {
    cases.push_back({name, TestOptions(kBudget)});
    cases.back().options.policy = policy;
    // Every place is chosen anew: which pages were hot before, and that differs after an Abort, does not matter.
    cases.back().options.topk.kind = TopkRule::Kind::kAuto;
    return cases.back().options;
  };
  for (int i = 0; i <= static_cast<int>(KvPolicyKind::kXkv); ++i) {
    const auto policy = static_cast<KvPolicyKind>(i);
    add(std::string(KvPolicyName(policy)), policy);
  }
  add("h2o, last row", KvPolicyKind::kH2o).h2o_init = H2oInit::kLastRow;
  add("tova, no whole blocks", KvPolicyKind::kTova).budget_tokens = 37;
  add("xkv, budgets of layers", KvPolicyKind::kXkv).layer_budget_tokens = {0, 9, 100, 0};
  return cases;
}

KvOptions Collecting(KvPolicyKind policy) {
  KvOptions o = TestOptions(kBudget);
  o.policy = policy;
  o.collect = {.last_queries = 8, .column_sums = true};
  return o;
}

Rows RunOne(CacheTestRig& rig, KvCache& cache, const TestItem& item) {
  auto rows = RunBatch(rig, cache, {item});
  EXPECT_TRUE(rows.ok()) << rows.status().ToString();
  return rows.ok() ? std::move(*rows) : Rows();
}

// A prompt in chunks of at most `chunk`; the rows of all of it.
Rows Prefill(CacheTestRig& rig, KvCache& cache, SeqId seq, int seed, int32_t n, int32_t chunk) {
  Rows all(rig.shape.n_layers());
  for (int32_t done = 0; done < n;) {
    const int32_t now = std::min(chunk, n - done);
    done += now;
    const Rows rows = RunOne(rig, cache, {seq, seed, now, done == n ? KvPhase::kPrefillLast : KvPhase::kPrefill});
    for (size_t l = 0; l < rows.size(); ++l) all[l].insert(all[l].end(), rows[l].begin(), rows[l].end());
  }
  return all;
}

std::vector<Rows> Steps(CacheTestRig& rig, KvCache& cache, SeqId seq, int seed, int n) {
  std::vector<Rows> out;
  for (int i = 0; i < n; ++i) out.push_back(RunOne(rig, cache, {seq, seed}));
  return out;
}

// Two turns: prompt, steps, prompt, steps.
std::vector<Rows> Life(CacheTestRig& rig, KvCache& cache, SeqId seq, int seed, int32_t chunk) {
  std::vector<Rows> out = {Prefill(rig, cache, seq, seed, 130, chunk)};
  const auto add = [&](std::vector<Rows> rows) { out.insert(out.end(), rows.begin(), rows.end()); };
  add(Steps(rig, cache, seq, seed, 12));
  out.push_back(Prefill(rig, cache, seq, seed, 21, chunk));
  add(Steps(rig, cache, seq, seed, 6));
  return out;
}

TEST(PolicyConformance, ChunksAndThreadsChangeNoBit) {
  for (const Case& c : Cases()) {
    std::vector<Rows> expected;
    for (const int threads : {1, 2, 3}) {
      for (const int32_t chunk : {512, 1, 7, 64}) {
        CacheTestRig rig(TestShape(), threads);
        auto cache = rig.Make();
        const auto life = Life(rig, *cache, *cache->Create(c.options), 1, chunk);
        if (expected.empty()) expected = life;
        EXPECT_EQ(life, expected) << c.name << ", " << threads << " threads, chunks of " << chunk;
      }
    }
  }
}

// All policies step together, each at its own depth.
TEST(PolicyConformance, ABatchGivesTheBitsOfRunsAlone) {
  const std::vector<Case> cases = Cases();
  CacheTestRig rig(TestShape(), 2);
  auto cache = rig.Make();
  std::vector<TestItem> items;
  std::vector<std::vector<Rows>> alone;
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto n = static_cast<int32_t>(50 + 17 * i);
    const int seed = static_cast<int>(i);
    const SeqId single = *cache->Create(cases[i].options);
    Prefill(rig, *cache, single, seed, n, 512);
    alone.push_back(Steps(rig, *cache, single, seed, 40));
    items.push_back({*cache->Create(cases[i].options), seed, n, KvPhase::kPrefillLast});
  }
  ASSERT_TRUE(RunBatch(rig, *cache, items).ok());
  for (TestItem& item : items) item = {item.seq, item.seed};
  for (int step = 0; step < 40; ++step) {
    const Rows rows = *RunBatch(rig, *cache, items);
    for (size_t i = 0; i < cases.size(); ++i) {
      for (size_t l = 0; l < rows.size(); ++l) {
        EXPECT_EQ(rows[l][i], alone[i][step][l][0]) << cases[i].name << " step " << step << " layer " << l;
      }
    }
  }
}

TEST(PolicyConformance, AForkIsLikeAFreshRun) {
  for (const KvPolicyKind from : {KvPolicyKind::kFull, KvPolicyKind::kArkvale, KvPolicyKind::kQuest}) {
    CacheTestRig rig(TestShape(), 2);
    auto cache = rig.Make();
    const SeqId parent = *cache->Create(Collecting(from));
    int32_t depth = 0;
    for (const int32_t chunk : {70, 20, 1, 40}) {  // ends of a prompt, which drop nothing in the parent
      Prefill(rig, *cache, parent, 1, chunk, 33);
      depth += chunk;
      ASSERT_TRUE(RunBatch(rig, *cache, {{parent, 2, 40, KvPhase::kPrefillLast}}, /*commit=*/false).ok());
      // By way of a fork that keeps what its parent has kept.
      const SeqId between = *cache->Fork(parent, Collecting(KvPolicyKind::kFull));
      for (const Case& c : Cases()) {
        const SeqId fork = *cache->Fork(depth % 2 == 0 ? parent : between, c.options);
        const SeqId fresh = *cache->Create(c.options);
        Prefill(rig, *cache, fresh, 1, depth, 50);
        EXPECT_EQ(cache->stats(fork)->hot_bytes, cache->stats(fresh)->hot_bytes) << c.name;
        EXPECT_EQ(cache->stats(fork)->dropped_tokens, cache->stats(fresh)->dropped_tokens) << c.name;
        EXPECT_EQ(Steps(rig, *cache, fork, 1, 20), Steps(rig, *cache, fresh, 1, 20)) << c.name;
        EXPECT_EQ(Prefill(rig, *cache, fork, 1, 5, 9), Prefill(rig, *cache, fresh, 1, 5, 9)) << c.name;
        EXPECT_EQ(Steps(rig, *cache, fork, 1, 5), Steps(rig, *cache, fresh, 1, 5)) << c.name;
        EXPECT_TRUE(cache->Drop(fork).ok());
        EXPECT_TRUE(cache->Drop(fresh).ok());
      }
      EXPECT_TRUE(cache->Drop(between).ok());
    }
  }
}

// A fork with the same options goes on with another text, side by side with its parent.
TEST(PolicyConformance, ATwinAndItsParentDisturbNobody) {
  constexpr int kParent = 1, kTwin = 2, kSteps = 7;
  for (const Case& c : Cases()) {
    CacheTestRig rig(TestShape(), 2);
    auto cache = rig.Make();
    const SeqId parent = *cache->Create(c.options), undisturbed = *cache->Create(c.options);
    for (const SeqId seq : {parent, undisturbed}) Prefill(rig, *cache, seq, kParent, 130, 512);
    for (int round = 0; round < 3; ++round) {
      const SeqId twin = *cache->Fork(parent, c.options), fresh = *cache->Create(c.options);
      Prefill(rig, *cache, fresh, kParent, 130, 512);
      Steps(rig, *cache, fresh, kParent, round * kSteps);
      for (int i = 0; i < kSteps; ++i) {
        const Rows rows =
            *RunBatch(rig, *cache, {{twin, kTwin}, {fresh, kTwin}, {parent, kParent}, {undisturbed, kParent}});
        for (const auto& layer : rows) {
          EXPECT_EQ(layer[0], layer[1]) << c.name << " the twin";
          EXPECT_EQ(layer[2], layer[3]) << c.name << " its parent";
        }
      }
      EXPECT_TRUE(cache->Drop(twin).ok());
      EXPECT_TRUE(cache->Drop(fresh).ok());
    }
  }
}

TEST(PolicyConformance, AnAbortedBatchLeavesNoTrace) {
  for (const Case& c : Cases()) {
    CacheTestRig rig(TestShape(), 2);
    auto cache = rig.Make();
    const SeqId seq = *cache->Create(c.options), undisturbed = *cache->Create(c.options);
    const auto both = [&](int32_t n, KvPhase phase) {
      const auto tried = RunBatch(rig, *cache, {{seq, 1, n, phase}}, /*commit=*/false);
      ASSERT_TRUE(tried.ok()) << tried.status().ToString();
      // Another text is tried and given up too.
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 2, n + 3, KvPhase::kPrefillLast}}, /*commit=*/false).ok());
      const Rows rows = RunOne(rig, *cache, {seq, 1, n, phase});
      EXPECT_EQ(rows, *tried) << c.name;
      EXPECT_EQ(rows, RunOne(rig, *cache, {undisturbed, 1, n, phase})) << c.name;
      EXPECT_EQ(cache->stats(seq)->total_bytes, cache->stats(undisturbed)->total_bytes) << c.name;
    };
    both(100, KvPhase::kPrefill);
    both(30, KvPhase::kPrefillLast);
    for (int i = 0; i < 15; ++i) both(1, KvPhase::kStep);
    both(9, KvPhase::kPrefillLast);
    for (int i = 0; i < 3; ++i) both(1, KvPhase::kStep);
  }
}

TEST(PolicyConformance, DropGivesEveryBlockBack) {
  constexpr int32_t kBlocks = 10;  // per layer
  for (const Case& c : Cases()) {
    CacheTestRig rig(TestShape(), 1);
    const int64_t block_bytes = kBlockTokens * rig.shape.layers[0].token_bytes(DType::kF16);
    auto cache = rig.Make(nullptr, 4 * kBlocks * block_bytes);
    const SeqId parent = *cache->Create(Collecting(KvPolicyKind::kFull));
    Prefill(rig, *cache, parent, 1, 150, 512);
    const SeqId fork = *cache->Fork(parent, c.options), twin = *cache->Fork(fork, c.options);
    for (const SeqId seq : {fork, twin}) {
      Steps(rig, *cache, seq, 1, 5);
      ASSERT_TRUE(RunBatch(rig, *cache, {{seq, 1}}, /*commit=*/false).ok());
    }
    for (const SeqId seq : {twin, parent, fork}) EXPECT_TRUE(cache->Drop(seq).ok());
    const SeqId whole = *cache->Create(Collecting(KvPolicyKind::kFull));
    const KvBatchItem item{whole, 64 * kBlocks, KvPhase::kPrefill};
    const Status status = cache->Begin({&item, 1});
    EXPECT_TRUE(status.ok()) << c.name << ": " << status.ToString();
    if (status.ok()) cache->Abort();
  }
}

TEST(PolicyConformance, ABudgetThatHoldsAllIsDense) {
  CacheTestRig rig(TestShape(), 2);
  auto cache = rig.Make();
  KvOptions full = TestOptions(0);
  full.policy = KvPolicyKind::kFull;
  const auto dense = Life(rig, *cache, *cache->Create(full), 1, 512);
  for (Case c : Cases()) {
    for (const int64_t budget : {0, 176, 4096}) {
      c.options.budget_tokens = budget;
      c.options.layer_budget_tokens.clear();
      const SeqId seq = *cache->Create(c.options);
      EXPECT_EQ(Life(rig, *cache, seq, 1, 512), dense) << c.name << " " << budget;
      EXPECT_EQ(cache->stats(seq)->dropped_tokens, 0) << c.name;
      EXPECT_TRUE(cache->Drop(seq).ok());
    }
  }
}

TEST(PolicyConformance, BoundedPoliciesHoldNoMoreThanTheirBudget) {
  for (const Case& c : Cases()) {
    CacheTestRig rig(TestShape(), 1);
    auto cache = rig.Make();
    const SeqId seq = *cache->Create(c.options);
    bool exceeded = false;
    const auto check = [&] {
      const KvStats stats = *cache->stats(seq);
      const double managed = stats.hot_tokens - static_cast<double>(stats.n_tokens);  // one dense layer
      exceeded |= managed > static_cast<double>(kManaged * c.options.budget_tokens);
      EXPECT_LE(stats.hot_bytes + stats.digest_bytes, HotBytes(rig.shape, c.options, stats.n_tokens, true)) << c.name;
    };
    for (const int32_t prompt : {130, 40}) {
      Prefill(rig, *cache, seq, 1, prompt, 64);
      check();
      for (int i = 0; i < 20; ++i) {
        RunOne(rig, *cache, {seq, 1});
        check();
      }
    }
    EXPECT_EQ(!exceeded, PromisesOf(c.options.policy).bounded) << c.name;
  }
}

// Keys at random; the value of the token at `marked` is 1 in its first dimension, all others are 0 there: a head's
// output is above 0 there exactly where it reads that token. Result: for each step whether every head of the managed
// layers read it. `marked` < 0: the token before the step's own.
class MarkedTokens {
 public:
  explicit MarkedTokens(const KvOptions& options) : rig_(TestShape(), 1), cache_(rig_.Make()) {
    seq_ = *cache_->Create(options);
  }

  // Heads of the managed layers that read the marked token in a step, out of n_heads(); -1 after a failure.
  int Pass(int32_t n, KvPhase phase, int64_t marked) {
    const KvBatchItem item{seq_, n, phase};
    const int64_t first = cache_->n_tokens(seq_);
    EXPECT_TRUE(cache_->Begin({&item, 1}).ok());
    int reading = 0;
    for (int32_t l = 0; l < rig_.shape.n_layers(); ++l) {
      std::vector<float> q = Random(n * 6 * 16), k = Random(n * 2 * 16), v(n * 2 * 16), out(n * 6 * 16);
      for (int32_t i = 0; i < n; ++i) {
        if (first + i == marked) v[i * 32] = v[i * 32 + 16] = 1.0f;
      }
      EXPECT_TRUE(cache_->Append(l, {k.data(), n, 32, 32}, {v.data(), n, 32, 32}).ok());
      EXPECT_TRUE(cache_->Attend(l, {q.data(), n, 96, 96}, {out.data(), n, 96, 96}).ok());
      for (int h = 0; h < 6 && (l == 1 || l == 2); ++h) reading += out[(n - 1) * 96 + h * 16] > 0 ? 1 : 0;
    }
    EXPECT_TRUE(cache_->Commit().ok());
    return reading;
  }
  int n_heads() const { return 2 * 6; }

 private:
  std::vector<float> Random(int64_t n) {
    std::vector<float> x(n);
    for (float& y : x) y = rng_.Uniform(-2, 2);
    return x;
  }

  CacheTestRig rig_;
  std::unique_ptr<KvCache> cache_;
  SeqId seq_;
  Rng rng_{"policy-conformance/marked"};
};

TEST(PolicyConformance, PromisesAreKeptAndWhatIsNotPromisedHappens) {
  std::map<KvPolicyKind, PolicyPromises> found;
  for (const Case& c : Cases()) {
    bool always_sinks = true, comes_back = false;
    MarkedTokens sinks(c.options);
    sinks.Pass(150, KvPhase::kPrefillLast, 0);
    std::vector<int> reading;
    for (int i = 0; i < 150; ++i) reading.push_back(sinks.Pass(1, KvPhase::kStep, 0));
    for (size_t i = 0; i < reading.size(); ++i) {
      always_sinks &= reading[i] == sinks.n_heads();
      comes_back |= i > 0 && reading[i] > reading[i - 1];
    }
    const PolicyPromises promises = PromisesOf(c.options.policy);
    EXPECT_GE(always_sinks, promises.keeps_sinks) << c.name;
    if (!promises.reversible) EXPECT_FALSE(comes_back) << c.name;
    if (promises.reversible && !promises.keeps_sinks) EXPECT_TRUE(comes_back) << c.name;

    // A token marked in one step must be read in the next; each trial marks another one.
    bool always_recent = true;
    for (int trial = 0; trial < 40; ++trial) {
      MarkedTokens recent(c.options);
      recent.Pass(80, KvPhase::kPrefillLast, -1);
      for (int i = 0; i <= trial; ++i) recent.Pass(1, KvPhase::kStep, 80 + trial);
      always_recent &= recent.Pass(1, KvPhase::kStep, 80 + trial) == recent.n_heads();
    }
    EXPECT_GE(always_recent, promises.keeps_recent) << c.name;
    auto& all =
        found.try_emplace(c.options.policy, PolicyPromises{.keeps_sinks = true, .keeps_recent = true}).first->second;
    all.keeps_sinks &= always_sinks;
    all.keeps_recent &= always_recent;
  }
  // Some case of each policy breaks what it does not promise.
  for (const auto& [policy, all] : found) {
    EXPECT_EQ(all.keeps_sinks, PromisesOf(policy).keeps_sinks) << KvPolicyName(policy);
    EXPECT_EQ(all.keeps_recent, PromisesOf(policy).keeps_recent) << KvPolicyName(policy);
  }
}

}  // namespace
}  // namespace arkvale
