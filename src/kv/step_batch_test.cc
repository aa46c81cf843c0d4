// Decode steps of a batch: sequences share the loops of a layer and nothing else.
#include <gtest/gtest.h>

#include "kv/cache_test_util.h"

namespace arkvale {
namespace {

struct Life {
  std::string name;
  KvOptions options;
  int32_t prompt = 0;
};

// Policies, budgets, page sizes, groups, digests, combines and rhythms; two of them score alike.
std::vector<Life> Lives() {
  std::vector<Life> lives;
  const auto add = [&](const char* name, int32_t prompt, int64_t budget, int32_t page) -> KvOptions& {
    lives.push_back({name, TestOptions(budget, page), prompt});
    return lives.back().options;
  };
  add("cuboid", 150, 64, 8);
  add("cuboid, longer", 237, 80, 8).window_exit = WindowExit::kDrop;
  add("within its budget", 40, 4096, 16);
  add("pages of 16, both heads in one group", 201, 112, 16).group_heads = 2;
  add("pages of 16", 210, 112, 16);
  add("q8, selected only", 160, 72, 8).digest_type = DigestType::kQ8;
  lives.back().options.attend = AttendKind::kSelected;
  add("all", 140, 64, 8).attend = AttendKind::kAll;
  add("code2, ranked every third step", 260, 64, 8).digest = DigestKind::kCode2;
  lives.back().options.rank_every = 3;
  lives.back().options.topk.kind = TopkRule::Kind::kAuto;
  add("code1, max", 190, 64, 8).digest = DigestKind::kCode1;
  lives.back().options.combine = CombineKind::kMax;
  add("softmax-mean, audited", 170, 64, 8).combine = CombineKind::kSoftmaxMean;
  lives.back().options.audit_every = 3;
  add("quest", 180, 64, 8).policy = KvPolicyKind::kQuest;
  add("full", 100, 0, 8).policy = KvPolicyKind::kFull;
  add("code2 with a zone", 250, 64, 8).digest = DigestKind::kCode2;
  lives.back().options.zone_tokens = 56;
  add("code2, everything estimated, 4 bits", 230, 80, 8).digest = DigestKind::kCode2;
  lives.back().options.zone_tokens = kZoneAll;
  lives.back().options.zone_value_bits = 4;
  return lives;
}

using Rows = std::vector<std::vector<float>>;  // by layer

// out[life][step]: rows of every layer. `together`: one batch per step, else one sequence alone in its cache.
std::vector<std::vector<Rows>> RunLives(bool together, int threads, std::vector<KvStats>& stats) {
  constexpr int kSteps = 40;
  const std::vector<Life> lives = Lives();
  std::vector<std::vector<Rows>> out(lives.size());
  CacheTestRig rig(TestShape(), threads);
  std::unique_ptr<KvCache> cache;
  std::vector<TestItem> steps;
  for (size_t i = 0; i < lives.size(); ++i) {
    if (cache == nullptr || !together) {
      cache = rig.Make();
      steps.clear();
    }
    const SeqId seq = *cache->Create(lives[i].options);
    EXPECT_TRUE(RunBatch(rig, *cache, {{seq, static_cast<int>(i), lives[i].prompt, KvPhase::kPrefillLast}}).ok());
    steps.push_back({seq, static_cast<int>(i)});
    if (together && i + 1 < lives.size()) continue;
    for (int step = 0; step < kSteps; ++step) {
      const auto rows = RunBatch(rig, *cache, steps);
      EXPECT_TRUE(rows.ok()) << rows.status().ToString();
      for (const TestItem& item : steps) {
        Rows& layers = out[item.seed].emplace_back();
        for (const auto& layer : *rows) layers.push_back(layer[&item - steps.data()]);
      }
    }
    for (const TestItem& item : steps) stats.push_back(*cache->stats(item.seq));
  }
  return out;
}

TEST(StepBatch, SequencesOfAnyKindStepTogetherAsTheyDoAlone) {
  const std::vector<Life> lives = Lives();
  std::vector<KvStats> alone_stats;
  const auto alone = RunLives(/*together=*/false, 1, alone_stats);
  for (const int threads : {1, 2, 3}) {
    std::vector<KvStats> stats;
    const auto together = RunLives(/*together=*/true, threads, stats);
    for (size_t i = 0; i < lives.size(); ++i) {
      EXPECT_EQ(together[i], alone[i]) << lives[i].name << ", " << threads << " threads";
      EXPECT_EQ(stats[i].counters.recalled, alone_stats[i].counters.recalled) << lives[i].name;
      EXPECT_EQ(stats[i].counters.evicted, alone_stats[i].counters.evicted) << lives[i].name;
      EXPECT_EQ(stats[i].counters.selected_pages, alone_stats[i].counters.selected_pages) << lives[i].name;
      EXPECT_EQ(stats[i].audit.set_recall_sum, alone_stats[i].audit.set_recall_sum) << lives[i].name;
    }
  }
  int64_t recalled = 0;
  for (const KvStats& stats : alone_stats) recalled += stats.counters.recalled;
  EXPECT_GT(recalled, 100) << "a test in which nothing moves shows nothing";
  EXPECT_GT(alone_stats[9].audit.samples, 0);
}

// Parallel loops of one step, over all layers. Each is a barrier of all threads: a new one should be a decision.
int64_t LoopsOfAStep(const KvOptions& options, int n_sequences) {
  constexpr int32_t kPrompt = 202;  // two tokens into a page: the steps that are counted fill none
  CacheTestRig rig(TestShape(), 2);
  const auto cache = rig.Make();
  std::vector<TestItem> steps;
  for (int i = 0; i < n_sequences; ++i) {
    steps.push_back({*cache->Create(options), i});
    EXPECT_TRUE(RunBatch(rig, *cache, {{steps[i].seq, i, kPrompt, KvPhase::kPrefillLast}}).ok());
  }
  EXPECT_TRUE(RunBatch(rig, *cache, steps).ok());
  const int64_t before = rig.pool.n_loops();
  EXPECT_TRUE(RunBatch(rig, *cache, steps).ok());
  return rig.pool.n_loops() - before;
}

TEST(StepBatch, LoopsPerLayer) {
  // Layers: one dense, two managed, one sliding.
  KvOptions full = TestOptions(0), arkvale = TestOptions(64), quest = TestOptions(64), code = TestOptions(64);
  full.policy = KvPolicyKind::kFull;
  quest.policy = KvPolicyKind::kQuest;
  code.digest = DigestKind::kCode2;
  code.topk.kind = TopkRule::Kind::kAuto;
  for (const int n : {1, 3}) {
    EXPECT_EQ(LoopsOfAStep(full, n), 4) << "attention";
    EXPECT_EQ(LoopsOfAStep(arkvale, n), 2 + 2 * 2) << "managed: estimates with all that follows; attention";
    EXPECT_EQ(LoopsOfAStep(quest, n), 2 + 2 * 2);
    EXPECT_EQ(LoopsOfAStep(code, n), 2 + 2 * (2 + n)) << "and the exact scores of the pinned pages per sequence";
    code.rank_every = 4;
    EXPECT_EQ(LoopsOfAStep(code, n), 2 + 2 * (2 + n)) << "whatever is ranked";
    code.rank_every = 1;
  }
}

}  // namespace
}  // namespace arkvale
