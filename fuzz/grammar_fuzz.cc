// Grammars and JSON schemas as a request may carry them: a Status or a sampler that follows them, step by step.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "model/gguf_test_util.h"
#include "text/sampler.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

// A vocabulary of single bytes: every grammar can be followed.
std::unique_ptr<Tokenizer> LoadBytes() {
  const std::string path = std::filesystem::temp_directory_path() / ("arkvale_fuzz_bytes_" + std::to_string(getpid()));
  testing::TinyModel("gemma3").Write(path);
  auto tokenizer = Tokenizer::Load(path);
  std::filesystem::remove(path);
  ARKVALE_CHECK(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace
}  // namespace arkvale

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  constexpr int kSteps = 8;
  static const auto* const tokenizer = LoadBytes().release();
  if (size == 0) return 0;
  SamplingOptions options;
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  (data[0] % 2 == 0 ? options.grammar : options.json_schema) = std::move(text);
  const auto sampler = Sampler::Create(options, tokenizer);
  if (!sampler.ok()) {
    ARKVALE_CHECK(!sampler.status().message().empty());
    return 0;
  }
  Rng rng("logits");
  std::vector<float> logits(static_cast<size_t>(tokenizer->n_vocab()));
  for (int step = 0; step < kSteps; ++step) {
    for (float& logit : logits) logit = rng.Uniform(-1, 1);
    const auto id = (*sampler)->Sample(logits);
    if (!id.ok() || tokenizer->IsEndOfGeneration(*id)) break;
  }
  return 0;
}
