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

ModelConfig Config(const GgufWriter& w) {
  const std::string bytes = w.Build();
  const auto view = GgufView::Parse(std::as_bytes(std::span(bytes)), "file");
  EXPECT_TRUE(view.ok()) << view.status().ToString();
  auto config = ReadConfig(*view);
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

}  // namespace
}  // namespace arkvale
