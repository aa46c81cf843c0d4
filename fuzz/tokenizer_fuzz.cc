// Texts and token ids that users and models may give, on the vocabularies of the test models (of a synthetic one where
// they were not fetched).
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/gguf_test_util.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace arkvale {
namespace {

std::vector<std::unique_ptr<Tokenizer>> LoadAll() {
  std::vector<std::unique_ptr<Tokenizer>> all;
  const std::filesystem::path folder = std::filesystem::path(ARKVALE_SOURCE_DIR) / "models";
  for (const char* name : {"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"}) {
    if (auto real = Tokenizer::Load(folder / name); real.ok()) all.push_back(*std::move(real));
  }
  for (const char* architecture : {"llama", "gemma3"}) {
    const std::string path = std::filesystem::temp_directory_path() / ("arkvale_fuzz_" + std::string(architecture));
    testing::TinyModel(architecture).Write(path);
    auto tiny = Tokenizer::Load(path);
    std::filesystem::remove(path);
    ARKVALE_CHECK(tiny.ok());
    all.push_back(*std::move(tiny));
  }
  return all;
}

const std::vector<std::unique_ptr<Tokenizer>>& Tokenizers() {
  static const auto* const all = new std::vector(LoadAll());
  return *all;
}

void CheckText(const Tokenizer& tokenizer, const std::string& text, bool special) {
  const auto ids = tokenizer.Encode(text, false, special);
  ARKVALE_CHECK(ids.ok() || FirstInvalidUtf8(text) != std::string_view::npos);
  if (!ids.ok()) return;
  ARKVALE_CHECK(std::all_of(ids->begin(), ids->end(), [&](int32_t id) { return id >= 0 && id < tokenizer.n_vocab(); }));
  // Real vocabularies may lack bytes (SmolLM2's has no 0), but no letter.
  const bool letters = std::any_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  ARKVALE_CHECK(!letters || !ids->empty() || tokenizer.n_vocab() < 1000);
  (void)tokenizer.Decode(*ids, special);
}

// What comes out is valid UTF-8 without a stop string, the same however often it is asked for.
void CheckStream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, std::vector<std::string> stops) {
  // Stop strings are looked for in valid text.
  std::erase_if(stops, [](const std::string& s) { return FirstInvalidUtf8(s) != std::string_view::npos; });
  TextStream stream([&](int32_t id) { return tokenizer.Piece(id); }, stops);
  std::string text, bytes;
  for (const int32_t id : ids) {
    const std::string part = stream.Push(id);
    ARKVALE_CHECK(FirstInvalidUtf8(part) == std::string_view::npos);
    text += part;
    bytes += tokenizer.Piece(id);
  }
  text += stream.Finish();
  std::string whole;
  const size_t used = AppendValidUtf8(bytes, whole);
  if (used < bytes.size()) whole += kReplacementCharacter;
  for (const std::string& stop : stops) ARKVALE_CHECK(stop.empty() || text.find(stop) == std::string::npos);
  ARKVALE_CHECK(whole.starts_with(text));
  ARKVALE_CHECK(stream.stopped() || whole == text);
}

}  // namespace
}  // namespace arkvale

// Loading takes seconds, which no input is to blame for.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  (void)arkvale::Tokenizers();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arkvale;
  const auto* const tokenizers = &arkvale::Tokenizers();
  FuzzedDataProvider input(data, size);
  const Tokenizer& tokenizer = *(*tokenizers)[input.ConsumeIntegralInRange<size_t>(0, tokenizers->size() - 1)];
  const bool special = input.ConsumeBool();
  std::vector<std::string> stops;
  for (int n = input.ConsumeIntegralInRange(0, 3); n > 0; --n) stops.push_back(input.ConsumeRandomLengthString(8));
  std::vector<int32_t> ids(input.ConsumeIntegralInRange<size_t>(0, 16));
  for (int32_t& id : ids) id = input.ConsumeIntegralInRange<int32_t>(-1, tokenizer.n_vocab());
  CheckStream(tokenizer, ids, std::move(stops));
  (void)tokenizer.Decode(ids, special);
  CheckText(tokenizer, input.ConsumeRemainingBytesAsString(), special);
  return 0;
}
