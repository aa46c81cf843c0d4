#include "model/inspect.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "model/gguf_test_util.h"

namespace arkvale {
namespace {

using testing::GgufWriter;
using testing::TinyModel;

Result<ModelSummary> Inspect(const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "inspect_" + std::to_string(getpid()) + ".gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  auto summary = InspectModel(path);
  std::filesystem::remove(path);
  return summary;
}

TEST(Inspect, CountsSlidingLayersApart) {
  const auto s = Inspect(TinyModel("gemma3").Build());
  ASSERT_TRUE(s.ok()) << s.status().ToString();
  EXPECT_EQ(s->unsupported, "");
  EXPECT_EQ(s->n_layers, 3);
  EXPECT_EQ(s->n_sliding_layers, 2);
  EXPECT_EQ(s->kv_bytes_per_token, 2 * 2 * (16 + 16));           // f16, kv heads, K and V of the one global layer
  EXPECT_EQ(s->kv_window_bytes, 2 * 8 * s->kv_bytes_per_token);  // two layers of 8 tokens
  EXPECT_EQ(s->tokenizer, "llama");
  EXPECT_EQ(s->n_tokens, 300);
  EXPECT_FALSE(s->has_chat_template);
  ASSERT_EQ(s->types.size(), 1u);
  EXPECT_EQ(s->types[0].type, "f32");
  EXPECT_EQ(s->types[0].n_tensors, s->n_tensors);
  EXPECT_EQ(s->types[0].n_bytes, s->weight_bytes);
}

TEST(Inspect, ExpertsAndSoftcaps) {
  const auto experts = Inspect(TinyModel("qwen3moe").Build());
  ASSERT_TRUE(experts.ok()) << experts.status().ToString();
  EXPECT_EQ(experts->n_experts, 6);
  EXPECT_EQ(experts->n_experts_used, 2);
  EXPECT_EQ(experts->d_ff_expert, 16);
  EXPECT_EQ(experts->n_files, 1);
  const auto gemma = Inspect(TinyModel("gemma2").Build());
  ASSERT_TRUE(gemma.ok()) << gemma.status().ToString();
  EXPECT_EQ(gemma->attention_softcap, 50.0f);
  EXPECT_EQ(gemma->final_softcap, 30.0f);
  EXPECT_EQ(gemma->n_experts, 0);
}

TEST(Inspect, SoundButUnsupportedFilesAreNoError) {
  GgufWriter w = TinyModel("llama");
  w.U32("llama.expert_count", 4);
  w.U32("llama.expert_shared_count", 1);
  auto s = Inspect(w.Build());
  ASSERT_TRUE(s.ok()) << s.status().ToString();
  EXPECT_NE(s->unsupported.find("shared experts"), std::string::npos);
  w.Str("general.architecture", "mamba");
  s = Inspect(w.Build());
  ASSERT_TRUE(s.ok()) << s.status().ToString();
  EXPECT_NE(s->unsupported.find("'mamba'"), std::string::npos);
  EXPECT_EQ(s->architecture, "mamba");
  EXPECT_EQ(s->n_layers, 0);
}

TEST(Inspect, BrokenFilesAre) {
  EXPECT_EQ(Inspect(TinyModel("llama").Build().substr(0, 5000)).status().kind(), StatusKind::kCorrupt);
  EXPECT_EQ(InspectModel("/nonexistent").status().kind(), StatusKind::kNotFound);
}

}  // namespace
}  // namespace arkvale
