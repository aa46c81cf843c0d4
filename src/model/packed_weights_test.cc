#include "model/packed_weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/alloc_failure_test_util.h"
#include "base/rng.h"
#include "ggml.h"
#include "model/gguf_view.h"
#include "model/synthetic.h"
#include "model/transformer.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

using testing::FailAllocation;

struct Case {
  const char* architecture;
  const char* type;
};

// A model with a pool and a cache of its own.
class Rig {
 public:
  Rig(const std::string& path, bool packed, int n_threads = 2) : pool_(n_threads), workspace_(n_threads) {
    auto loaded = Transformer::Load(path, {.context_tokens = 1024});
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    model_ = std::move(*loaded);
    if (packed) EXPECT_TRUE(model().PackWeights(ctx_).ok());
    auto cache = KvCache::Make({.shape = model().config().kv_shape()}, ctx_);
    EXPECT_TRUE(cache.ok()) << cache.status().ToString();
    cache_ = std::move(*cache);
  }

  Transformer& model() { return *model_; }
  const OpContext& ctx() const { return ctx_; }

  SeqId NewSequence() {
    KvOptions options;
    options.policy = KvPolicyKind::kFull;
    return *cache_->Create(options);
  }

  std::vector<float> Forward(const std::vector<ForwardItem>& items) {
    std::vector<float> logits;
    const Status status = model().Forward(ctx_, *cache_, items, logits);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return logits;
  }

  std::vector<float> Prefill(SeqId seq, std::span<const int32_t> ids, LogitsWanted wanted = LogitsWanted::kAll) {
    return Forward({{seq, ids, KvPhase::kPrefillLast, wanted}});
  }

  // Logits of each of the steps, one after the other.
  std::vector<float> Steps(SeqId seq, std::span<const int32_t> ids) {
    std::vector<float> all;
    for (const int32_t& id : ids) {
      const auto row = Forward({{seq, {&id, 1}}});
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

 private:
  ThreadPool pool_;
  Workspace workspace_;
  OpContext ctx_{&CpuOps(), &pool_, &workspace_};
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<KvCache> cache_;
};

std::vector<int32_t> Tokens(int n) {
  Rng rng("packed weights test tokens");
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.Below(256)));
  return ids;
}

double WorstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, std::fabs(double{a[i]} - b[i]));
  return worst;
}

std::string WriteModel(const Case& c) {
  std::string path =
      ::testing::TempDir() + "packed_" + c.architecture + "_" + c.type + "_" + std::to_string(getpid()) + ".gguf";
  const Status status = WriteSynthetic({.architecture = c.architecture, .type = c.type}, path);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return path;
}

class PackedModels : public ::testing::TestWithParam<Case> {
 protected:
  ~PackedModels() override { std::filesystem::remove(path_); }
  const std::string path_ = WriteModel(GetParam());
  const std::vector<int32_t> ids_ = Tokens(60);
};

INSTANTIATE_TEST_SUITE_P(Tiny, PackedModels,
                         ::testing::Values(Case{"llama", "q4_0"}, Case{"llama", "q4_1"}, Case{"qwen2", "q5_0"},
                                           Case{"qwen2", "q5_1"}, Case{"qwen3", "q6_K"}, Case{"qwen3moe", "q8_0"},
                                           Case{"qwen3moe", "q4_K"}, Case{"phi3", "q5_K"}, Case{"phi3", "q8_0"},
                                           Case{"gemma2", "q4_K"}, Case{"gemma3", "q8_0"}),
                         [](const auto& info) { return std::string(info.param.architecture) + "_" + info.param.type; });

TEST_P(PackedModels, PrefillKeepsEveryBit) {
  Rig packed(path_, true), mapped(path_, false);
  ASSERT_GT(packed.model().packed_bytes(), 0);
  EXPECT_TRUE(packed.Prefill(packed.NewSequence(), ids_) == mapped.Prefill(mapped.NewSequence(), ids_));
}

// Prefill's products are exact but for f32; a packed step rounds x to 16 bits, one that reads the file to 8.
TEST_P(PackedModels, StepsAreCloserToExactProducts) {
  Rig packed(path_, true), mapped(path_, false);
  const std::span<const int32_t> ids = ids_;
  const auto exact = packed.Prefill(packed.NewSequence(), ids);
  const auto steps = [&](Rig& rig) {
    const SeqId seq = rig.NewSequence();
    rig.Prefill(seq, ids.first(40), LogitsWanted::kNone);
    return rig.Steps(seq, ids.subspan(40));
  };
  const auto n_vocab = static_cast<size_t>(packed.model().config().n_vocab);
  const std::vector<float> want(exact.begin() + static_cast<std::ptrdiff_t>(40 * n_vocab), exact.end());
  const double error = WorstDifference(steps(packed), want), file_error = WorstDifference(steps(mapped), want);
  EXPECT_LT(error, file_error / 2);
  EXPECT_GT(file_error, 0);
}

TEST_P(PackedModels, BatchesAndThreadsDoNotChangeABitOfAStep) {
  Rig one(path_, true, 1), two(path_, true, 2);
  const std::span<const int32_t> ids = ids_;
  std::vector<float> alone;
  std::vector<ForwardItem> batch;
  for (size_t i = 0; i < 7; ++i) {
    const SeqId seq = one.NewSequence(), other = two.NewSequence();
    one.Prefill(seq, ids.first(10 + i), LogitsWanted::kNone);
    two.Prefill(other, ids.first(10 + i), LogitsWanted::kNone);
    const auto row = one.Forward({{seq, ids.subspan(30 + i, 1)}});
    alone.insert(alone.end(), row.begin(), row.end());
    batch.push_back({other, ids.subspan(30 + i, 1)});
  }
  EXPECT_TRUE(two.Forward(batch) == alone);
}

TEST_P(PackedModels, MemoryFailureLeavesTheFile) {
  Rig rig(path_, false), mapped(path_, false);
  const int64_t step_bytes = rig.model().step_bytes();
  const Status status = [&] {
    const FailAllocation fail(1);
    return rig.model().PackWeights(rig.ctx());
  }();
  EXPECT_EQ(status.kind(), StatusKind::kResourceExhausted) << status.ToString();
  EXPECT_EQ(rig.model().packed_bytes(), 0);
  EXPECT_EQ(rig.model().step_bytes(), step_bytes);
  EXPECT_GT(rig.model().packable_bytes(), 0);
  const SeqId a = rig.NewSequence(), b = mapped.NewSequence();
  EXPECT_TRUE(rig.Prefill(a, ids_, LogitsWanted::kLast) == mapped.Prefill(b, ids_, LogitsWanted::kLast));
}

// Types that grow are q4_K and q5_K, by 4 bytes of 144 or 176 (packed_weight.h); of a mixture a step reads a part.
TEST_P(PackedModels, BytesAreToldAsTheyAre) {
  Rig rig(path_, false);
  const int64_t in_file = rig.model().step_bytes(), all = rig.model().weight_bytes();
  const int64_t packable = rig.model().packable_bytes();
  EXPECT_LT(packable, all + all / 30);
  ASSERT_TRUE(rig.model().PackWeights(rig.ctx()).ok());
  EXPECT_EQ(rig.model().packed_bytes(), packable);
  EXPECT_EQ(rig.model().packable_bytes(), 0);
  EXPECT_EQ(rig.model().weight_bytes(), all);
  const std::string type = GetParam().type;
  const bool grows = type == "q4_K" || type == "q5_K";
  // The vocabulary does not fill its last group.
  const int64_t group_bytes = 16 * (rig.model().config().d_model / 32 * 34);
  EXPECT_GE(rig.model().step_bytes(), in_file + (grows ? in_file / 50 : 0));
  EXPECT_LE(rig.model().step_bytes(), in_file + (grows ? in_file / 36 : 0) + group_bytes);
}

// Resident KiB of the mapping of `path`.
int64_t ResidentKib(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  int64_t kib = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t value = 0;
    words >> key;
    if (key.find('-') != std::string::npos) ours = line.ends_with(path);
    if (ours && key == "Rss:" && words >> value) kib += value;
  }
  return kib;
}

TEST(PackedWeightsMemory, OriginalsLeaveThisProcess) {
  const std::string path = WriteModel({"llama", "q8_0"});
  {
    Rig rig(path, false);
    rig.Prefill(rig.NewSequence(), Tokens(8));
    const int64_t before = ResidentKib(path);
    ASSERT_GT(before, rig.model().packable_bytes() / 1024 / 2);
    ASSERT_TRUE(rig.model().PackWeights(rig.ctx()).ok());
    EXPECT_LT(ResidentKib(path), before - rig.model().packed_bytes() / 1024 / 2);
  }
  std::filesystem::remove(path);
}

TEST(PackedWeightsBytes, NotWhatCannotBePacked) {
  const ModelConfig dense, mixture{.n_experts = 2, .n_experts_used = 1};
  Weights w;
  w.layers.resize(1);
  EXPECT_EQ(PackedWeights::Bytes(dense, w), 0);
  std::byte data{};
  const auto matrix = [&](int32_t type, int64_t rows) { return WeightView{&data, type, rows, 256, 1}; };
  const int64_t group_bytes = 16 * 256 / 32 * 34;  // q8_0
  w.output.weight = matrix(GGML_TYPE_F16, 16);
  EXPECT_EQ(PackedWeights::Bytes(dense, w), 0);
  w.output.weight = matrix(GGML_TYPE_Q8_0, 17);
  EXPECT_EQ(PackedWeights::Bytes(dense, w), 2 * group_bytes);
  w.layers[0].gate.weight = matrix(GGML_TYPE_Q8_0, 48);
  EXPECT_EQ(PackedWeights::Bytes(dense, w), 5 * group_bytes);
  EXPECT_EQ(PackedWeights::Bytes(mixture, w), 2 * group_bytes) << "24 rows per expert";
  w.layers[0].gate.weight = matrix(GGML_TYPE_Q8_0, 64);
  EXPECT_EQ(PackedWeights::Bytes(mixture, w), 6 * group_bytes);
  w.layers[0].router.weight = matrix(GGML_TYPE_Q8_0, 16);
  w.embedding = matrix(GGML_TYPE_Q8_0, 16);
  EXPECT_EQ(PackedWeights::Bytes(mixture, w), 6 * group_bytes);
}

}  // namespace
}  // namespace arkvale
