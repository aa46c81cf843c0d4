// Budgets that differ from layer to layer by orders of magnitude: what is held, read, counted and given back.
#include <gtest/gtest.h>

#include "kv/block_pool.h"
#include "kv/cache.h"
#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

constexpr int32_t kPrompt = 5300;
constexpr double kTolerance = 2e-5;

// Two layers, of which the second holds nearly all.
KvShape TwoLayers() {
  const KvLayerShape full{.n_q_heads = 2, .n_kv_heads = 1, .head_dim_k = 8, .head_dim_v = 8, .scale = 0.35f};
  return {{full, full}};
}

KvOptions Uneven(KvPolicyKind policy = KvPolicyKind::kXkv) {
  KvOptions o = TestOptions(64);
  o.policy = policy;
  o.dense_layers = 0;
  o.layer_budget_tokens = {9, 5000};
  return o;
}

int64_t Blocks(int64_t n_tokens) { return (n_tokens + kBlockTokens - 1) / kBlockTokens; }

class LayerBudgets : public ::testing::Test {
 protected:
  int64_t block_bytes() const { return kBlockTokens * token_bytes(); }
  int64_t token_bytes() const { return rig_.shape.layers[0].token_bytes(DType::kF16); }

  void Prefill(SeqId seq, int seed, int32_t n = kPrompt) {
    ASSERT_TRUE(RunBatch(rig_, *cache_, {{seq, seed, n, KvPhase::kPrefillLast}}).ok());
  }
  void ExpectHeld(SeqId seq, int64_t first, int64_t second) {
    const KvStats stats = *cache_->stats(seq);
    EXPECT_EQ(stats.hot_tokens, static_cast<double>(first + second));
    EXPECT_EQ(stats.hot_bytes, (first + second) * token_bytes());
    EXPECT_EQ(stats.total_bytes, (Blocks(first) + Blocks(second)) * block_bytes());
    EXPECT_EQ(stats.dropped_tokens, 2 * stats.n_tokens - first - second);
    EXPECT_EQ(stats.full_bytes, 2 * stats.n_tokens * token_bytes());
  }

  CacheTestRig rig_{TwoLayers(), 2};
  std::unique_ptr<KvCache> cache_ = rig_.Make();
};

TEST_F(LayerBudgets, BlocksAreFreedAndGrowAgainWithEachStep) {
  const SeqId seq = *cache_->Create(Uneven());
  Prefill(seq, 1);
  ExpectHeld(seq, 9, 5000);
  for (int i = 1; i <= 130; ++i) {
    ASSERT_TRUE(RunBatch(rig_, *cache_, {{seq, 1}}).ok());
    ExpectHeld(seq, 9 + i, 5000 + i);
  }
  Prefill(seq, 1, 70);
  ExpectHeld(seq, 9 + 200, 5000 + 200);
}

// Three prompts fit one after another only in what those before have given back.
TEST_F(LayerBudgets, OthersTakeWhatWasFreed) {
  const int64_t held = Blocks(9) + Blocks(5000);
  cache_ = rig_.Make(nullptr, (2 * held + 2 * Blocks(kPrompt)) * block_bytes());
  std::vector<SeqId> live;
  for (int i = 0; i < 3; ++i) {
    live.push_back(*cache_->Create(Uneven()));
    Prefill(live.back(), i);
    ExpectHeld(live.back(), 9, 5000);
  }
  const SeqId fourth = *cache_->Create(Uneven());
  const auto refused = RunBatch(rig_, *cache_, {{fourth, 4, kPrompt, KvPhase::kPrefillLast}});
  EXPECT_EQ(refused.status().kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(cache_->stats(fourth)->total_bytes, 0);
  ExpectHeld(live[2], 9, 5000);
  for (const SeqId seq : live) ASSERT_TRUE(cache_->Drop(seq).ok());
  for (int i = 0; i < 2; ++i) Prefill(i == 0 ? fourth : *cache_->Create(Uneven()), 4);
}

TEST_F(LayerBudgets, ForksShareTheirBlocksAndSayWhatTheyCannot) {
  KvOptions base{.policy = KvPolicyKind::kFull};
  base.collect.last_queries = 8;
  const SeqId parent = *cache_->Create(base), fresh = *cache_->Create(Uneven());
  Prefill(parent, 1);
  Prefill(fresh, 1);
  const SeqId fork = *cache_->Fork(parent, Uneven()), twin = *cache_->Fork(fork, Uneven());
  for (const SeqId seq : {fork, twin}) ExpectHeld(seq, 9, 5000);
  KvOptions other = Uneven();
  other.layer_budget_tokens = {9, 4999};
  EXPECT_NE(cache_->Fork(fork, other).status().message().find("policy xkv has dropped tokens for good"),
            std::string::npos);
  EXPECT_NE(cache_->ForkAt(fork, Uneven(), kPrompt - 1).status().message().find("fork at depth 5299"),
            std::string::npos);
  EXPECT_EQ(cache_->MinForkDepth(fork), kPrompt);
  for (int i = 0; i < 70; ++i) {
    // The twin goes another way; nobody notices.
    const auto rows = *RunBatch(rig_, *cache_, {{fork, 1}, {twin, 2}, {fresh, 1}, {parent, 1}});
    for (const auto& layer : rows) {
      EXPECT_EQ(layer[0], layer[2]);
      EXPECT_NE(layer[0], layer[1]);
    }
    EXPECT_LT(MaxDifference(rows[0][3], DenseRow(rig_.shape.layers[0], 0, 1, kPrompt + i)), kTolerance);
  }
  ExpectHeld(twin, 9 + 70, 5000 + 70);
}

TEST_F(LayerBudgets, ABatchOfPoliciesGivesTheBitsOfRunsAlone) {
  const KvOptions options[] = {Uneven(), Uneven(KvPolicyKind::kArkvale), Uneven(KvPolicyKind::kH2o),
                               Uneven(KvPolicyKind::kFull), Uneven(KvPolicyKind::kSnapkv)};
  std::vector<TestItem> items;
  std::vector<SeqId> alone;
  for (KvOptions o : options) {
    if (o.policy == KvPolicyKind::kArkvale) o.layer_budget_tokens[0] = 40;  // five pages are the least
    const int seed = static_cast<int>(items.size());
    items.push_back({*cache_->Create(o), seed});
    alone.push_back(*cache_->Create(o));
    for (const SeqId seq : {items.back().seq, alone.back()}) Prefill(seq, seed, kPrompt - 100 * seed);
  }
  for (int step = 0; step < 70; ++step) {
    const auto rows = *RunBatch(rig_, *cache_, items);
    for (size_t i = 0; i < items.size(); ++i) {
      const auto single = *RunBatch(rig_, *cache_, {{alone[i], items[i].seed}});
      for (size_t l = 0; l < rows.size(); ++l) EXPECT_EQ(rows[l][i], single[l][0]) << i << " step " << step;
    }
  }
  ExpectHeld(items[0].seq, 9 + 70, 5000 + 70);
}

// A layer that holds all of its tokens gives what a dense one gives, beside one that holds 9.
TEST_F(LayerBudgets, ALayerThatHoldsAllIsDense) {
  KvOptions o = Uneven();
  o.layer_budget_tokens = {9, kPrompt};
  const SeqId seq = *cache_->Create(o);
  Prefill(seq, 1);
  for (int i = 0; i < 3; ++i) {
    const auto rows = *RunBatch(rig_, *cache_, {{seq, 1}});
    EXPECT_LT(MaxDifference(rows[1][0], DenseRow(rig_.shape.layers[1], 1, 1, kPrompt + i)), kTolerance);
    EXPECT_GT(MaxDifference(rows[0][0], DenseRow(rig_.shape.layers[0], 0, 1, kPrompt + i)), 100 * kTolerance);
  }
}

// Random lives of several sequences in one cache, with batches that are given up and twins that part. Each is told what
// it holds by the definition, and has the bits of a sequence of its own that lives through the same without them.
class LayerBudgetsWalk : public LayerBudgets {
 protected:
  struct Life {
    SeqId seq, undisturbed;
    int seed = 0;
    int64_t held[2] = {0, 0};
    bool chosen = false;
    std::vector<std::pair<int32_t, KvPhase>> past;
  };

  static constexpr int32_t kMost = 420, kLives = 5;

  LayerBudgetsWalk() {
    options_.layer_budget_tokens = {9, 150};
    cache_ = rig_.Make(nullptr, most_blocks() * block_bytes());
  }
  static int64_t most_blocks() { return kLives * 2 * Blocks(kMost); }

  Life Begin(int seed) {
    return {.seq = *cache_->Create(options_), .undisturbed = *alone_->Create(options_), .seed = seed};
  }
  void End(Life& life) {
    ASSERT_TRUE(cache_->Drop(life.seq).ok());
    ASSERT_TRUE(alone_->Drop(life.undisturbed).ok());
    life = lives_.back();
    lives_.pop_back();
  }
  Life Twin(const Life& life) {
    Life twin = life;
    twin.seq = *cache_->Fork(life.seq, options_);
    twin.undisturbed = *alone_->Create(options_);
    for (const auto& [n, phase] : life.past) {
      EXPECT_TRUE(RunBatch(rig_, *alone_, {{twin.undisturbed, life.seed, n, phase}}).ok());
    }
    return twin;
  }
  void Run(Life& life, int32_t n, KvPhase phase, bool commit) {
    const auto rows = RunBatch(rig_, *cache_, {{life.seq, life.seed, n, phase}}, commit);
    ASSERT_TRUE(rows.ok()) << rows.status().ToString();
    if (!commit) return;
    EXPECT_EQ(*rows, *RunBatch(rig_, *alone_, {{life.undisturbed, life.seed, n, phase}}));
    life.past.emplace_back(n, phase);
    const bool chooses = phase == KvPhase::kPrefillLast && !life.chosen;
    for (int l = 0; l < 2; ++l) {
      life.held[l] += n;
      if (chooses) life.held[l] = std::min(life.held[l], options_.layer_budget_tokens[l]);
    }
    life.chosen |= chooses;
  }

  KvOptions options_ = Uneven();
  std::unique_ptr<KvCache> alone_ = rig_.Make();
  std::vector<Life> lives_;
};

TEST_F(LayerBudgetsWalk, HasTheBitsOfLivesUndisturbed) {
  Rng rng("layer-budgets/walk");
  int twins = 0, chosen = 0;
  for (int i = 0; i < 900 && !HasFailure(); ++i) {
    if (lives_.size() < 3) lives_.push_back(Begin(i));
    Life& life = lives_[rng.Below(lives_.size())];
    if (cache_->n_tokens(life.seq) > 250 || rng.Below(60) == 0) {
      chosen += life.chosen ? 1 : 0;
      End(life);
    } else if (lives_.size() < kLives && life.chosen && rng.Below(8) == 0) {
      lives_.push_back(Twin(life));
      ++twins;
    } else {
      const bool step = rng.Below(3) != 0;
      const auto n = static_cast<int32_t>(step ? 1 : 1 + rng.Below(170));
      const KvPhase prefill = rng.Below(2) == 0 ? KvPhase::kPrefill : KvPhase::kPrefillLast;
      Run(life, n, step ? KvPhase::kStep : prefill, /*commit=*/rng.Below(4) != 0);
    }
    for (const Life& each : lives_) ExpectHeld(each.seq, each.held[0], each.held[1]);
  }
  EXPECT_GT(twins, 10);
  EXPECT_GT(chosen, 20);
  while (!lives_.empty()) End(lives_.front());
  const KvBatchItem all{*cache_->Create(options_), static_cast<int32_t>(most_blocks() / 2 * kBlockTokens),
                        KvPhase::kPrefill};
  EXPECT_TRUE(cache_->Begin({&all, 1}).ok()) << "every block came back";
  cache_->Abort();
}

}  // namespace
}  // namespace arkvale
