// What CheckGguf accepts, libllama must survive: it aborts on some broken files and would take the process with it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "llama.h"
#include "model/gguf_check.h"
#include "model/gguf_test_util.h"
#include "model/gguf_view.h"
#include "model/inspect.h"
#include "model/mapped_file.h"

namespace arkvale {
namespace {

std::string ModelPath(const std::string& file) { return std::string(ARKVALE_SOURCE_DIR) + "/models/" + file; }
const char* const kModels[] = {"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"};

enum LoadResult { kLoaded = 0, kRefused = 1 };

// Loads the vocabulary, and turns a text into tokens and back.
LoadResult LoadVocabulary(const std::string& path) {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(path.c_str(), params);
  if (model == nullptr) return kRefused;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const std::string text = "Hello  w\xc3\xb6rld\n\t\xe2\x98\x83 <s> 123 \x01";
  std::vector<llama_token> tokens(256);
  const int n = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(), 256, true, true);
  std::vector<char> out(4096);
  llama_detokenize(vocab, tokens.data(), std::max(n, 0), out.data(), 4096, false, true);
  llama_model_free(model);
  return kLoaded;
}

// In a process of its own; -1 when that died.
int LoadInChild(const std::string& path) {
  const pid_t child = fork();
  if (child == 0) {
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    _exit(LoadVocabulary(path));
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

TEST(GgufCheckModel, RealModelsPass) {
  for (const char* model : kModels) {
    const Status status = CheckGgufFile(ModelPath(model));
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
}

TEST(GgufCheckModel, InspectTellsTheShapes) {
  const auto smol = InspectModel(ModelPath(kModels[0]));
  ASSERT_TRUE(smol.ok()) << smol.status().ToString();
  EXPECT_EQ(smol->unsupported, "");
  EXPECT_EQ(smol->n_layers, 30);
  EXPECT_EQ(smol->n_sliding_layers, 0);
  EXPECT_EQ(smol->kv_bytes_per_token, 30 * 3 * (64 + 64) * 2);
  EXPECT_EQ(smol->context_tokens, 8192);
  EXPECT_EQ(smol->file_type, "q4_1");
  EXPECT_TRUE(smol->has_chat_template);
  const auto gemma = InspectModel(ModelPath(kModels[1]));
  ASSERT_TRUE(gemma.ok()) << gemma.status().ToString();
  EXPECT_EQ(gemma->n_layers, 18);
  EXPECT_EQ(gemma->n_sliding_layers, 15);
  EXPECT_EQ(gemma->window_tokens, 512);
  EXPECT_EQ(gemma->kv_bytes_per_token, 3 * 1 * (256 + 256) * 2);
  EXPECT_EQ(gemma->n_tokens, 262144);
  EXPECT_FALSE(gemma->has_chat_template);
}

struct FlipCounts {
  int accepted = 0, loaded = 0, refused = 0;
};

// Damages the header of a sound file (a fifth of the places in its first 4 KiB, a fifth among the tensors) `n_rounds`
// times and loads what passes, up to `n_loads`.
void Flip(std::span<const std::byte> good, const std::string& name, int n_rounds, int n_loads) {
  const auto view = GgufView::Parse(good, name);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  const auto header_bytes = static_cast<size_t>(view->tensors()[0].offset);
  const std::string path = ::testing::TempDir() + "flipped_" + std::to_string(getpid()) + ".gguf";
  std::ofstream(path).close();
  std::filesystem::resize_file(path, good.size());  // the tensors stay a hole: vocab_only does not read them

  std::vector<std::byte> bytes(good.begin(), good.end());
  Rng rng("gguf model flips/" + name);
  FlipCounts n;
  for (int round = 0; round < n_rounds && n.accepted < n_loads; ++round) {
    std::copy_n(good.begin(), header_bytes, bytes.begin());
    for (uint64_t i = 1 + rng.Below(3); i > 0; --i) {
      const uint64_t where = rng.Below(5);
      const size_t at = where == 0   ? rng.Below(std::min<size_t>(4096, header_bytes))
                        : where == 1 ? header_bytes - 1 - rng.Below(std::min<size_t>(16384, header_bytes))
                                     : rng.Below(header_bytes);
      if (rng.Below(2) == 0) {
        bytes[at] ^= static_cast<std::byte>(1u << rng.Below(8));
      } else {
        bytes[at] = static_cast<std::byte>(rng.Below(256));
      }
    }
    if (!CheckGguf(bytes, name).ok()) {
      ++n.refused;
      continue;
    }
    ++n.accepted;
    const int fd = open(path.c_str(), O_WRONLY);
    ASSERT_EQ(pwrite(fd, bytes.data(), header_bytes, 0), static_cast<ssize_t>(header_bytes));
    close(fd);
    const int result = LoadInChild(path);
    ASSERT_GE(result, 0) << "libllama died on what CheckGguf accepts in round " << round << ", kept as " << path;
    n.loaded += result == kLoaded;
  }
  std::filesystem::remove(path);
  EXPECT_GT(n.refused, 0);
  EXPECT_GT(n.loaded, n.accepted / 2);
  EXPECT_GT(n.accepted, n_loads / 2);
  std::printf("%s: %d accepted, %d of them loaded, %d refused\n", name.c_str(), n.accepted, n.loaded, n.refused);
}

void FlipReal(const std::string& model, int n_rounds, int n_loads) {
  const auto file = MappedFile::Open(ModelPath(model));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  Flip(file->bytes(), model, n_rounds, n_loads);
}

TEST(GgufCheckModel, LibllamaSurvivesWhatPassesLlama) { FlipReal(kModels[0], 600, 60); }
TEST(GgufCheckModel, LibllamaSurvivesWhatPassesGemma) { FlipReal(kModels[1], 150, 15); }
TEST(GgufCheckModel, LibllamaSurvivesWhatPassesTiny) {
  for (const char* architecture : {"llama", "gemma3"}) {
    const std::string bytes = testing::TinyModel(architecture).Build();
    Flip(std::as_bytes(std::span(bytes)), architecture, 3000, 500);
  }
}

}  // namespace
}  // namespace arkvale
