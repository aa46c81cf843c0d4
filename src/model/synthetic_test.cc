#include "model/synthetic.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "model/config.h"
#include "model/gguf_check.h"
#include "model/model_file.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

namespace fs = std::filesystem;

class SyntheticTest : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove(path_); }

  Result<ModelFile> Write(const SyntheticOptions& options) {
    ARKVALE_RETURN_IF_ERROR(WriteSynthetic(options, path_));
    return ModelFile::Open(path_);
  }
  Status Error(const SyntheticOptions& options) {
    const Status status = WriteSynthetic(options, path_);
    EXPECT_FALSE(fs::exists(path_));
    return status;
  }
  // Adds the file's bytes up as FNV-1a.
  uint64_t Hash() {
    const auto file = MappedFile::Open(path_);
    uint64_t hash = 14695981039346656037ull;
    for (const std::byte b : file->bytes()) hash = (hash ^ static_cast<uint64_t>(b)) * 1099511628211ull;
    return hash;
  }

  const std::string path_ = ::testing::TempDir() + "synthetic_test-" + std::to_string(getpid()) + ".gguf";
};

TEST_F(SyntheticTest, EveryArchitecturePassesTheChecksOfOurReader) {
  for (const auto arch : SyntheticArchitectures()) {
    const auto file = Write({.architecture = std::string(arch), .type = "q4_0"});
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(CheckGgufView(file->view()).ToString(), OkStatus().ToString()) << arch;
    const auto config = ReadConfig(file->view());
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    EXPECT_GT(config->n_layers, 2) << "two dense layers and a managed one";
    EXPECT_LT(config->n_kv_heads, config->n_q_heads) << "grouped queries";
    EXPECT_EQ(config->layers.back().window, 0) << "the last layer is global";
  }
}

TEST_F(SyntheticTest, ASeedGivesOneFile) {
  const auto hash = [&](uint64_t seed) {
    EXPECT_TRUE(WriteSynthetic({.type = "f32", .seed = seed}, path_).ok());
    return Hash();
  };
  const uint64_t first = hash(42);
  EXPECT_EQ(first, hash(42));
  EXPECT_NE(first, hash(43));
}

// The value is the same on every machine: base/rng.h and exact arithmetic made it.
TEST_F(SyntheticTest, F32WeightsAreTheSameEverywhere) {
  const auto file = Write({.type = "f32"});
  ASSERT_TRUE(file.ok());
  const auto* q = static_cast<const float*>(file->view().Weight(*file->view().FindTensor("blk.1.attn_q.weight")).data);
  double sum = 0, squares = 0;
  for (int i = 0; i < 256 * 256; ++i) {
    sum += q[i];
    squares += static_cast<double>(q[i]) * q[i];
  }
  EXPECT_NEAR(sum / 65536, 0, 1e-3);
  EXPECT_NEAR(squares / 65536 * 256, 1, 0.02) << "a row of inputs of deviation 1 gives an output of deviation 1";
  EXPECT_EQ(q[0], 0x1.6f6398p-4f);
  EXPECT_EQ(q[65535], -0x1.90e1fp-5f);
}

TEST_F(SyntheticTest, NoTwoRowsOfAMatrixAreEqual) {
  const auto file = Write({.type = "q4_K"});  // a row of 256 is one block of the pool
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const WeightView w = file->view().Weight(*file->view().FindTensor("blk.0.ffn_up.weight"));
  std::set<std::string> rows;
  for (int64_t r = 0; r < w.rows; ++r) {
    rows.emplace(static_cast<const char*>(w.data) + r * w.row_bytes, static_cast<size_t>(w.row_bytes));
  }
  EXPECT_EQ(static_cast<int64_t>(rows.size()), w.rows);
}

TEST_F(SyntheticTest, EveryByteIsATokenAndChatMlIsKnown) {
  ASSERT_TRUE(WriteSynthetic({.type = "q4_0"}, path_).ok());
  const auto tokenizer = Tokenizer::Load(path_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->n_vocab(), 260);
  EXPECT_EQ((*tokenizer)->bos(), 256);
  const std::string text = "Hello ,  world!\n\tna\xc3\xafve \xe2\x82\xac \x01 'tis 1234 \r\n";
  const auto ids = (*tokenizer)->Encode(text, /*add_bos=*/true, /*parse_special=*/false);
  ASSERT_TRUE(ids.ok());
  ASSERT_EQ(ids->size(), text.size() + 1);
  for (size_t i = 0; i < text.size(); ++i) EXPECT_EQ((*ids)[i + 1], static_cast<uint8_t>(text[i])) << i;
  EXPECT_EQ((*tokenizer)->Decode(std::span(*ids).subspan(1), false), text);
  for (int32_t b = 0; b < 256; ++b) EXPECT_EQ((*tokenizer)->Piece(b), std::string(1, static_cast<char>(b)));
  const auto special = (*tokenizer)->Encode("<|im_start|>a<|im_end|>", false, /*parse_special=*/true);
  EXPECT_EQ(*special, (std::vector<int32_t>{258, 'a', 259}));
  EXPECT_TRUE((*tokenizer)->IsEndOfGeneration(257));
  EXPECT_TRUE((*tokenizer)->IsEndOfGeneration(259));
}

TEST_F(SyntheticTest, ContextIsAsAsked) {
  const auto file = Write({.preset = "induction", .context_tokens = 777});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(**file->view().U32("gemma3.context_length"), 777u);
}

TEST_F(SyntheticTest, WhatDoesNotExistIsNamed) {
  const auto expect = [&](const SyntheticOptions& options, const char* text) {
    const Status status = Error(options);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << status.ToString();
    EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
  };
  expect({.preset = "tinny"}, "'tinny' (tiny, smollm2-135m, llama-3.1-8b, longchat-7b, induction)");
  expect({.architecture = "mamba"}, "'mamba' (llama, qwen2");
  expect({.preset = "longchat-7b", .architecture = "qwen2"}, "only 'tiny'");
  expect({.type = "q9_9"}, "'q9_9' (f32, f16, q4_0");
  expect({.type = "q8_1"}, "unknown type 'q8_1'");
  expect({.preset = "smollm2-135m", .type = "q4_K"}, "rows of 576");
  expect({.rope = "alibi"}, "'alibi' (none, linear");
  expect({.architecture = "gemma3", .rope = "llama3"}, "belongs to the architecture llama");
  expect({.preset = "induction", .type = "q8_0"}, "exact");
  expect({.preset = "induction", .rope = "yarn"}, "of its own");
  expect({.context_tokens = -1}, "-1 tokens");
}

TEST_F(SyntheticTest, ProgressEndsAtTheWholeAndCanCancel) {
  int64_t last = 0, whole = 0;
  ASSERT_TRUE(WriteSynthetic({}, path_, [&](int64_t done, int64_t total) {
                EXPECT_GT(done, last);
                last = done;
                whole = total;
                return OkStatus();
              }).ok());
  EXPECT_EQ(last, whole);
  fs::remove(path_);
  EXPECT_EQ(WriteSynthetic({}, path_, [](int64_t, int64_t) { return Cancelled("stop"); }).kind(),
            StatusKind::kCancelled);
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace arkvale
