#include "model/transformer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/gguf_test_util.h"
#include "model/reference_forward_test_util.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

using testing::GgufWriter;
using testing::TinyModel;

void AddLlamaBiases(GgufWriter& w) {
  for (int l = 0; l < 3; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    w.F32Tensor(blk + "attn_q.bias", {64}, 0, 0.5f);
    w.F32Tensor(blk + "attn_v.bias", {32}, 0, 0.5f);
    w.F32Tensor(blk + "attn_output.bias", {32}, 0, 0.5f);
    w.F32Tensor(blk + "ffn_gate.bias", {48}, 0, 0.5f);
    w.F32Tensor(blk + "ffn_up.bias", {48}, 0, 0.5f);
    w.F32Tensor(blk + "ffn_down.bias", {32}, 0, 0.5f);
  }
}

// q, k and v in one matrix with one bias.
void FuseQkv(GgufWriter& w) {
  std::erase_if(w.tensors, [](const auto& t) {
    return t.name.ends_with("attn_q.weight") || t.name.ends_with("attn_k.weight") || t.name.ends_with("attn_v.weight");
  });
  for (int l = 0; l < 3; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    w.F32Tensor(blk + "attn_qkv.weight", {32, 128}, 0, 0.5f);
    w.F32Tensor(blk + "attn_qkv.bias", {128}, 0, 0.5f);
  }
}

void AddYarn(GgufWriter& w, const std::string& architecture) {
  w.Str(architecture + ".rope.scaling.type", "yarn");
  w.F32(architecture + ".rope.scaling.factor", 4.0f);
  w.U32(architecture + ".rope.scaling.original_context_length", 128);
  w.F32(architecture + ".rope.scaling.attn_factor", 0.9f);
}

// Every feature of RunLayer is in one of these: a separate output matrix, rope factors, scaling, soft caps, experts ...
GgufWriter Model(const std::string& name) {
  if (name == "llama3") {
    GgufWriter w = TinyModel("llama");
    w.F32("llama.rope.freq_base", 500.0f);
    w.F32("llama.rope.scaling.factor", 2.0f);
    w.F32Tensor("rope_freqs.weight", {8}, 3, 2);
    w.F32Tensor("output.weight", {32, 300}, 0, 0.5f);
    return w;
  }
  GgufWriter w = TinyModel(name == "mixtral" || name == "biases" ? "llama" : name == "fused" ? "qwen3" : name);
  if (name == "mixtral") {
    w.U32("llama.feed_forward_length", 16);
    AddExperts(w, "llama");
  } else if (name == "fused") {
    FuseQkv(w);
  } else if (name == "biases") {
    AddLlamaBiases(w);
  } else if (name == "qwen2") {
    AddYarn(w, name);
    w.F32Tensor("output.weight", {32, 300}, 0, 0.5f);
    w.F32Tensor("output.bias", {300}, 0, 0.5f);
  } else if (name == "phi3") {
    w.U32("phi3.rope.scaling.original_context_length", 64);
    w.F32("phi3.rope.scaling.attn_factor", 1.2f);
    w.F32Tensor("rope_factors_long.weight", {3}, 3, 2);
    w.F32Tensor("rope_factors_short.weight", {3}, 1, 0.2f);
    w.U32("phi3.attention.sliding_window", 8);
  } else if (name == "gemma2") {
    w.F32("gemma2.attn_logit_softcapping", 2.0f);
    w.F32("gemma2.final_logit_softcapping", 5.0f);
  } else if (name == "gemma3") {
    w.F32("gemma3.rope.freq_base", 1000.0f);
    w.F32("gemma3.rope.scaling.factor", 4.0f);
    w.F32("gemma3.rope.freq_base_swa", 100.0f);
    w.F32("gemma3.final_logit_softcapping", 5.0f);
  }
  return w;
}

std::vector<int32_t> Tokens(int n) {
  Rng rng("transformer test tokens");
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.Below(300)));
  return ids;
}

class TransformerTest : public ::testing::TestWithParam<const char*> {
 protected:
  explicit TransformerTest(int n_threads = 2) : pool_(n_threads), workspace_(n_threads) {}

  void SetUp() override {
    path_ = ::testing::TempDir() + "tiny_" + std::to_string(getpid()) + ".gguf";
    Model(GetParam()).Write(path_);
    auto model = Transformer::Load(path_);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = std::move(*model);
    NewCache(0);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void NewCache(int64_t host_limit_bytes) {
    KvCache::Config config;
    config.shape = model_->config().kv_shape();
    config.host_limit_bytes = host_limit_bytes;
    auto cache = KvCache::Make(config, ctx_);
    ASSERT_TRUE(cache.ok()) << cache.status().ToString();
    cache_ = std::move(*cache);
  }

  SeqId NewSequence() {
    KvOptions options;
    options.policy = KvPolicyKind::kFull;
    options.budget_tokens = 0;
    auto seq = cache_->Create(options);
    EXPECT_TRUE(seq.ok()) << seq.status().ToString();
    return *seq;
  }

  std::vector<float> Forward(const std::vector<ForwardItem>& items) {
    std::vector<float> logits;
    const Status status = model_->Forward(ctx_, *cache_, items, logits);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return logits;
  }

  // All logits of a prefill in chunks of `chunk`.
  std::vector<float> Prefill(SeqId seq, const std::vector<int32_t>& ids, size_t chunk) {
    std::vector<float> all;
    for (size_t at = 0; at < ids.size(); at += chunk) {
      const size_t n = std::min(chunk, ids.size() - at);
      const KvPhase phase = at + n == ids.size() ? KvPhase::kPrefillLast : KvPhase::kPrefill;
      const auto part = Forward({{seq, std::span(ids).subspan(at, n), phase, LogitsWanted::kAll}});
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  std::vector<float> Step(SeqId seq, const int32_t& id) { return Forward({{seq, {&id, 1}}}); }

  ThreadPool pool_;
  Workspace workspace_;
  OpContext ctx_{&CpuOps(), &pool_, &workspace_};
  std::string path_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<KvCache> cache_;
};

double WorstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, std::fabs(double{a[i]} - b[i]));
  return worst;
}

TEST_P(TransformerTest, MatchesNaiveForward) {
  const auto ids = Tokens(40);
  const auto want = testing::ReferenceForward(Model(GetParam()), model_->config(), ids);
  const SeqId seq = NewSequence();
  auto got = Prefill(seq, {ids.begin(), ids.begin() + 30}, 30);
  for (size_t i = 30; i < ids.size(); ++i) {
    const auto row = Step(seq, ids[i]);
    got.insert(got.end(), row.begin(), row.end());
  }
  // K and V are rounded to f16 in both. Sums differ in order, so among some 5,000 stored entries one or two near a
  // rounding boundary go the other way (which ones depends on the build): 1e-6 before the first, up to 1.4e-3 seen
  // after it. Storing all of them in f16 changes logits by f16_noise (0.005 to 0.024 here); a quarter of that is the
  // bound.
  const auto exact = testing::ReferenceForward(Model(GetParam()), model_->config(), ids, /*f16_kv=*/false);
  const double f16_noise = WorstDifference(want, exact);
  const auto [low, high] = std::minmax_element(want.begin(), want.end());
  EXPECT_LT(f16_noise, 0.01 * (*high - *low)) << "a bound that would let a wrong formula through";
  EXPECT_LT(WorstDifference(got, want), f16_noise / 4);
  const size_t n_vocab = want.size() / ids.size();
  EXPECT_LT(WorstDifference({got.begin(), got.begin() + n_vocab}, {want.begin(), want.begin() + n_vocab}), 1e-5);
}

TEST_P(TransformerTest, ChunksDoNotChangeABit) {
  const auto ids = Tokens(70);
  const auto whole = Prefill(NewSequence(), ids, ids.size());
  for (const size_t chunk : {1, 7, 33, 64}) {
    EXPECT_EQ(Prefill(NewSequence(), ids, chunk), whole) << "chunk " << chunk;
  }
}

TEST_P(TransformerTest, BatchesDoNotChangeABit) {
  const auto ids = Tokens(40);
  const SeqId a = NewSequence(), b = NewSequence(), c = NewSequence();
  Prefill(a, ids, 40);
  const auto step = Step(a, 5);
  const auto prefill = Prefill(b, ids, 40);

  const SeqId d = NewSequence(), e = NewSequence();
  Prefill(d, ids, 40);
  const int32_t five = 5;
  const auto mixed = Forward({{d, {&five, 1}},
                              {c, ids, KvPhase::kPrefillLast, LogitsWanted::kAll},
                              {e, ids, KvPhase::kPrefill, LogitsWanted::kNone}});
  const auto n_vocab = model_->config().n_vocab;
  ASSERT_EQ(mixed.size(), step.size() + prefill.size());
  EXPECT_TRUE(std::equal(step.begin(), step.end(), mixed.begin()));
  EXPECT_TRUE(std::equal(prefill.begin(), prefill.end(), mixed.begin() + n_vocab));
  EXPECT_EQ(cache_->n_tokens(e), 40);
}

TEST_P(TransformerTest, ThreadsDoNotChangeABit) {
  const auto ids = Tokens(40);
  const auto two = Prefill(NewSequence(), ids, 40);
  ThreadPool one(1);
  Workspace workspace(1);
  ctx_.pool = &one;
  ctx_.workspace = &workspace;
  NewCache(0);
  EXPECT_EQ(Prefill(NewSequence(), ids, 40), two);
}

// The last layer computes wanted rows only; kLast takes row products for the output where kAll takes tiles.
TEST_P(TransformerTest, LastRowIsTheLastOfAll) {
  const auto ids = Tokens(40);
  const auto all = Prefill(NewSequence(), ids, 40);
  const auto last = Forward({{NewSequence(), ids, KvPhase::kPrefillLast, LogitsWanted::kLast}});
  ASSERT_EQ(last.size(), static_cast<size_t>(model_->config().n_vocab));
  EXPECT_LT(WorstDifference(last, {all.end() - model_->config().n_vocab, all.end()}), 1e-3);
  const SeqId a = NewSequence(), b = NewSequence();
  Prefill(a, ids, 40);
  EXPECT_TRUE(Forward({{b, ids, KvPhase::kPrefillLast, LogitsWanted::kNone}}).empty());
  EXPECT_EQ(Step(a, 9), Step(b, 9));
}

TEST_P(TransformerTest, BadTokensTouchNothing) {
  const SeqId seq = NewSequence();
  std::vector<float> logits;
  for (const int32_t id : {-1, 300}) {
    const ForwardItem item{seq, {&id, 1}};
    EXPECT_EQ(model_->Forward(ctx_, *cache_, {&item, 1}, logits).kind(), StatusKind::kInvalidArgument);
  }
  const std::vector<int32_t> two{1, 2};
  const ForwardItem long_step{seq, two}, empty{seq, {}};
  EXPECT_EQ(model_->Forward(ctx_, *cache_, {&long_step, 1}, logits).kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(model_->Forward(ctx_, *cache_, {&empty, 1}, logits).kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(cache_->n_tokens(seq), 0);
}

TEST_P(TransformerTest, FullCacheLeavesTheSequenceAsItWas) {
  const auto ids = Tokens(60);
  const SeqId reference = NewSequence();
  Prefill(reference, ids, 60);
  const auto want = Step(reference, 3);
  const ModelConfig& c = model_->config();
  const int64_t one_block_bytes = 3 * 64 * c.n_kv_heads * (c.head_dim_k + c.head_dim_v) * 2;  // layers, tokens, f16
  NewCache(one_block_bytes);
  const SeqId seq = NewSequence();
  Prefill(seq, ids, 60);
  std::vector<float> logits;
  const ForwardItem more{seq, ids, KvPhase::kPrefill};
  EXPECT_EQ(model_->Forward(ctx_, *cache_, {&more, 1}, logits).kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(cache_->n_tokens(seq), 60);
  EXPECT_EQ(Step(seq, 3), want);
}

TEST_P(TransformerTest, SplitFileGivesTheSameLogits) {
  const auto ids = Tokens(20);
  const auto whole = Prefill(NewSequence(), ids, ids.size());
  const std::string prefix = ::testing::TempDir() + "tiny_" + std::to_string(getpid());
  const auto parts = testing::Split(Model(GetParam()), 2);
  const std::string paths[] = {prefix + "-00001-of-00002.gguf", prefix + "-00002-of-00002.gguf"};
  for (int i = 0; i < 2; ++i) parts[i].Write(paths[i]);
  auto model = Transformer::Load(paths[0]);
  for (const std::string& path : paths) std::filesystem::remove(path);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  model_ = std::move(*model);
  EXPECT_EQ(Prefill(NewSequence(), ids, ids.size()), whole);
}

INSTANTIATE_TEST_SUITE_P(Models, TransformerTest,
                         ::testing::Values("llama", "llama3", "biases", "fused", "mixtral", "qwen2", "qwen3",
                                           "qwen3moe", "phi3", "gemma2", "gemma3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TransformerLoad, RefusesByName) {
  const std::string path = ::testing::TempDir() + "refused_" + std::to_string(getpid()) + ".gguf";
  GgufWriter w = TinyModel("llama");
  w.Str("general.architecture", "mamba");
  w.Write(path);
  const Status status = Transformer::Load(path).status();
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find("mamba"), std::string::npos) << status.ToString();
  std::filesystem::remove(path);
  EXPECT_EQ(Transformer::Load(path).status().kind(), StatusKind::kNotFound);
}

}  // namespace
}  // namespace arkvale
