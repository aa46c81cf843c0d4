#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string>

#include "model/gguf_test_util.h"
#include "model/gguf_view.h"

namespace arkvale {
namespace {

using testing::GgufWriter;
using testing::TinyModel;

ModelConfig Config(const GgufWriter& w, const RopeOverride& rope = {}) {
  const std::string bytes = w.Build();
  const auto view = GgufView::Parse(std::as_bytes(std::span(bytes)), "file");
  EXPECT_TRUE(view.ok()) << view.status().ToString();
  auto config = ReadConfig(*view, rope);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return *config;
}

TEST(Config, Llama) {
  GgufWriter w = TinyModel("llama");
  const ModelConfig c = Config(w);
  EXPECT_EQ(c.n_vocab, 300);
  EXPECT_EQ(c.context_tokens, 512);
  EXPECT_FLOAT_EQ(c.attention_scale, 0.25f);
  EXPECT_EQ(c.embedding_scale, 1.0f);
  EXPECT_EQ(c.glu, GluKind::kSilu);
  ASSERT_EQ(c.layers.size(), 3u);
  EXPECT_EQ(c.layers[1].window, 0);
  EXPECT_EQ(c.layers[1].rope.kind, RopeKind::kNorm);
  EXPECT_EQ(c.layers[1].rope.freq_base, 10000.0f);
  EXPECT_EQ(c.layers[1].rope.freq_scale, 1.0f);
  EXPECT_EQ(c.kv_shape().layers[2].q_per_kv(), 2);
}

TEST(Config, DefaultsFollowFromOtherKeys) {
  GgufWriter w = TinyModel("llama");
  for (const char* key :
       {"attention.key_length", "attention.value_length", "attention.head_count_kv", "rope.dimension_count"}) {
    w.Remove(std::string("llama.") + key);
  }
  const ModelConfig c = Config(w);
  EXPECT_EQ(c.n_kv_heads, 4);
  EXPECT_EQ(c.head_dim_k, 8);
  EXPECT_EQ(c.head_dim_v, 8);
  EXPECT_EQ(c.layers[0].rope.n_rot, 8);
}

TEST(Config, LinearRopeScaling) {
  GgufWriter w = TinyModel("llama");
  w.F32("llama.rope.scale_linear", 8.0f);
  EXPECT_EQ(Config(w).layers[0].rope.freq_scale, 0.125f);
  w.F32("llama.rope.scaling.factor", 4.0f);  // the newer name wins
  EXPECT_EQ(Config(w).layers[0].rope.freq_scale, 0.25f);
  w.Str("llama.rope.scaling.type", "linear");
  EXPECT_EQ(Config(w).layers[0].rope.freq_scale, 0.25f);
  w.Str("llama.rope.scaling.type", "none");
  EXPECT_EQ(Config(w).layers[0].rope.freq_scale, 1.0f);
}

TEST(Config, Gemma3LocalAndGlobalLayers) {
  GgufWriter w = TinyModel("gemma3");
  w.F32("gemma3.rope.freq_base", 1e6f);
  w.F32("gemma3.rope.scaling.factor", 8.0f);
  const ModelConfig c = Config(w);
  EXPECT_FLOAT_EQ(c.embedding_scale, std::sqrt(32.0f));
  EXPECT_FLOAT_EQ(c.attention_scale, 0.25f);
  EXPECT_TRUE(c.qk_norm && c.post_norms);
  EXPECT_EQ(c.glu, GluKind::kGelu);
  ASSERT_EQ(c.layers.size(), 3u);
  for (const int l : {0, 1}) {
    EXPECT_EQ(c.layers[l].window, 8);
    EXPECT_EQ(c.layers[l].rope.freq_base, 10000.0f);
    EXPECT_EQ(c.layers[l].rope.freq_scale, 1.0f);
  }
  EXPECT_EQ(c.layers[2].window, 0);
  EXPECT_EQ(c.layers[2].rope.kind, RopeKind::kNeox);
  EXPECT_EQ(c.layers[2].rope.freq_base, 1e6f);
  EXPECT_EQ(c.layers[2].rope.freq_scale, 0.125f);
}

TEST(Config, Gemma3PatternIsSixByDefault) {
  GgufWriter w = TinyModel("gemma3");
  w.Remove("gemma3.attention.sliding_window_pattern");
  w.U32("gemma3.block_count", 12);
  const ModelConfig c = Config(w);
  for (int l = 0; l < 12; ++l) EXPECT_EQ(c.layers[l].window, l == 5 || l == 11 ? 0 : 8) << l;
  w.Remove("gemma3.attention.sliding_window");
  for (const LayerConfig& layer : Config(w).layers) EXPECT_EQ(layer.window, 0);
}

TEST(Config, Gemma3Of27BScalesByModelWidth) {
  GgufWriter w = TinyModel("gemma3");
  w.U32("gemma3.block_count", 62);
  EXPECT_FLOAT_EQ(Config(w).attention_scale, 1.0f / std::sqrt(32.0f / 4));
}

TEST(Config, Qwen) {
  const ModelConfig qwen2 = Config(TinyModel("qwen2"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.qk_norm);
  EXPECT_EQ(qwen2.layers[0].rope.kind, RopeKind::kNeox);
  EXPECT_FLOAT_EQ(qwen2.attention_scale, 1.0f / std::sqrt(8.0f));
  const ModelConfig qwen3 = Config(TinyModel("qwen3"));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim_k, 16);  // not d_model / heads
  EXPECT_EQ(qwen3.n_experts, 0);
}

TEST(Config, Experts) {
  GgufWriter w = TinyModel("qwen3moe");
  ModelConfig c = Config(w);
  EXPECT_EQ(c.n_experts, 6);
  EXPECT_EQ(c.n_experts_used, 2);
  EXPECT_EQ(c.d_ff_expert, 16);
  w.Remove("qwen3moe.expert_feed_forward_length");
  EXPECT_EQ(Config(w).d_ff_expert, 24);  // feed_forward_length over experts used
  w.U32("qwen3moe.expert_feed_forward_length", 16);
  w.Remove("qwen3moe.feed_forward_length");
  EXPECT_EQ(Config(w).d_ff_expert, 16);
  w = TinyModel("llama");
  testing::AddExperts(w, "llama");
  EXPECT_EQ(Config(w).d_ff_expert, 48);
}

TEST(Config, Phi3) {
  GgufWriter w = TinyModel("phi3");
  w.U32("phi3.attention.sliding_window", 8);
  w.F32("phi3.rope.scaling.attn_factor", 1.25f);
  ModelConfig c = Config(w);
  EXPECT_TRUE(c.fused_gate_up);
  EXPECT_EQ(c.layers[0].window, 0);
  EXPECT_EQ(c.layers[0].rope.n_rot, 6);
  EXPECT_EQ(c.layers[0].rope.magnitude, 1.25f);
  EXPECT_FALSE(c.layers[0].rope.yarn);
  EXPECT_EQ(c.rope_factors, RopeFactors::kShort);
  w.U32("phi3.rope.scaling.original_context_length", 256);
  EXPECT_EQ(Config(w).rope_factors, RopeFactors::kLong);
  EXPECT_EQ(Config(w).context_tokens, 512);
  EXPECT_EQ(Config(w, {.context_tokens = 256}).rope_factors, RopeFactors::kShort);
  EXPECT_EQ(Config(w, {.context_tokens = 257}).rope_factors, RopeFactors::kLong);
}

TEST(Config, Gemma2) {
  GgufWriter w = TinyModel("gemma2");
  ModelConfig c = Config(w);
  EXPECT_EQ(c.attention_softcap, 50.0f);
  EXPECT_EQ(c.final_softcap, 30.0f);
  EXPECT_EQ(c.kv_shape().layers[2].softcap, 50.0f);
  EXPECT_FALSE(c.qk_norm);
  EXPECT_TRUE(c.post_norms);
  EXPECT_FLOAT_EQ(c.attention_scale, 0.25f);
  for (const int l : {0, 1, 2}) EXPECT_EQ(c.layers[l].window, l == 1 ? 0 : 8) << l;
  EXPECT_EQ(c.layers[0].rope, c.layers[1].rope);
  w.Remove("gemma2.attention.sliding_window");
  w.U32("gemma2.block_count", 46);
  w.F32("gemma2.attn_logit_softcapping", 0);
  c = Config(w);
  EXPECT_FLOAT_EQ(c.attention_scale, 1.0f / std::sqrt(32.0f / 4));
  EXPECT_EQ(c.layers[44].window, 4096);
  EXPECT_EQ(c.layers[45].window, 0);
  EXPECT_EQ(c.kv_shape().layers[45].softcap, 0.0f);
}

// n_rot 128, base 1e6, 32768 tokens: pairs 23.x and 39.x turn 32 times and once, by hand from the paper's formula
// n_rot * ln(tokens / (2 pi turns)) / (2 ln base).
TEST(Config, YarnOfTheFile) {
  GgufWriter w = TinyModel("qwen3");
  for (const char* key : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    w.U32(std::string("qwen3.") + key, 128);
  }
  w.F32("qwen3.rope.freq_base", 1e6f);
  w.U32("qwen3.context_length", 32768);
  w.Str("qwen3.rope.scaling.type", "yarn");
  w.F32("qwen3.rope.scaling.factor", 4.0f);
  w.U32("qwen3.rope.scaling.original_context_length", 32768);
  const ModelConfig c = Config(w);
  const RopeParams& rope = c.layers[0].rope;
  EXPECT_TRUE(rope.yarn);
  EXPECT_EQ(rope.ramp_low, 23.0f);
  EXPECT_EQ(rope.ramp_high, 40.0f);
  EXPECT_EQ(rope.freq_scale, 0.25f);
  EXPECT_NEAR(rope.magnitude, 1 + 0.1 * std::log(4.0), 1e-6);
  EXPECT_EQ(c.context_tokens, 131072);

  const ModelConfig none = Config(w, {.scaling = RopeScaling::kNone});
  EXPECT_FALSE(none.layers[0].rope.yarn);
  EXPECT_EQ(none.layers[0].rope.freq_scale, 1.0f);
  EXPECT_EQ(none.layers[0].rope.magnitude, 1.0f);
  EXPECT_EQ(none.context_tokens, 32768);
}

TEST(Config, RopeOverrideStretchesTheContext) {
  GgufWriter w = TinyModel("llama");
  const ModelConfig linear = Config(w, {.scaling = RopeScaling::kLinear, .factor = 2.5f});
  EXPECT_EQ(linear.layers[0].rope.freq_scale, 0.4f);
  EXPECT_EQ(linear.layers[0].rope.magnitude, 1.0f);
  EXPECT_EQ(linear.context_tokens, 1280);
  const ModelConfig yarn = Config(w, {.scaling = RopeScaling::kYarn, .factor = 4.0f});
  EXPECT_TRUE(yarn.layers[0].rope.yarn);
  EXPECT_EQ(yarn.context_tokens, 2048);
  // The factor alone keeps the file's kind of scaling, linear by default; the kind alone keeps the file's factor.
  EXPECT_EQ(Config(w, {.factor = 4.0f}).layers[0].rope, (Config(w, {RopeScaling::kLinear, 4.0f}).layers[0].rope));
  w.F32("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(Config(w, {.scaling = RopeScaling::kYarn}).layers[0].rope, yarn.layers[0].rope);
  EXPECT_EQ(Config(w, {.scaling = RopeScaling::kNone, .factor = 3.0f}).layers[0].rope.freq_scale, 1.0f);
  EXPECT_EQ(Config(w, {.scaling = RopeScaling::kNone, .factor = 3.0f}).context_tokens, 512);
  EXPECT_EQ(Config(w, {.factor = 0.5f}).context_tokens, 512);
}

// Sliding layers keep their own scale, and with it their own magnitude, under any override.
TEST(Config, OverrideLeavesSlidingLayersAlone) {
  const ModelConfig before = Config(TinyModel("gemma3"));
  const ModelConfig c = Config(TinyModel("gemma3"), {.scaling = RopeScaling::kYarn, .factor = 4.0f});
  EXPECT_EQ(c.layers[0].rope.freq_scale, 1.0f);
  EXPECT_FLOAT_EQ(c.layers[0].rope.magnitude, 1.0f);
  EXPECT_EQ(c.layers[2].rope.freq_scale, 0.25f);
  EXPECT_NEAR(c.layers[2].rope.magnitude, 1 + 0.1 * std::log(4.0), 1e-6);
  const ModelConfig linear = Config(TinyModel("gemma3"), {.scaling = RopeScaling::kLinear, .factor = 4.0f});
  EXPECT_EQ(linear.layers[0].rope, before.layers[0].rope);
}

TEST(Config, BadOverrideIsNamed) {
  const std::string bytes = TinyModel("llama").Build();
  const auto view = GgufView::Parse(std::as_bytes(std::span(bytes)), "file");
  for (const float factor : {-1.0f, NAN, INFINITY}) {
    const Status status = ReadConfig(*view, {.factor = factor}).status();
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
    EXPECT_NE(status.message().find("rope scale"), std::string::npos) << status.ToString();
  }
}

}  // namespace
}  // namespace arkvale
