#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/text_stream.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

std::string ModelPath(const std::string& file) {
  const char* models = std::getenv("ARKVALE_MODELS");
  return (models != nullptr ? std::string(models) : std::string(ARKVALE_SOURCE_DIR) + "/models") + "/" + file;
}

// A loaded vocabulary per file for the whole program.
const Tokenizer& Vocabulary(const std::string& file) {
  static std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> loaded;
  for (const auto& [name, tokenizer] : loaded) {
    if (name == file) return *tokenizer;
  }
  auto tokenizer = Tokenizer::Load(ModelPath(file));
  if (!tokenizer.ok()) throw std::runtime_error(tokenizer.status().ToString());
  return *loaded.emplace_back(file, std::move(tokenizer).value()).second;
}

const char* const kSmolLm2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
const char* const kGemma = "gemma-3-270m-q4_k_m.gguf";

std::string BookText() {
  std::ifstream file(std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt", std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_GT(text.str().size(), 1000u);
  return text.str();
}

const std::string kMixed =
    "  Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n\n\t日本語のテキスト 🙂👍🏽 "
    "e\xCC\x81 don't 1234567 -- ...   x<|im_end|> \xE2\x80\x8B end ";

class EachModel : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, EachModel, testing::Values(kSmolLm2, kGemma),
                         [](const auto& info) { return info.param == kGemma ? "Gemma" : "SmolLM2"; });

TEST_P(EachModel, TextComesBackFromItsTokens) {
  const Tokenizer& t = Vocabulary(GetParam());
  for (const std::string& text : {BookText(), kMixed, std::string("x"), std::string("\n"), std::string(" ")}) {
    const auto ids = t.Encode(text, /*add_bos=*/true, /*parse_special=*/false);
    ASSERT_TRUE(ids.ok()) << ids.status().ToString();
    EXPECT_EQ(t.Decode(*ids, /*special=*/false), text);
    for (const int32_t id : *ids) ASSERT_TRUE(id >= 0 && id < t.n_vocab());
  }
}

TEST_P(EachModel, StreamedTextIsTheDecodedText) {
  const Tokenizer& t = Vocabulary(GetParam());
  const auto ids = t.Encode(kMixed, false, false);
  ASSERT_TRUE(ids.ok());
  TextStream stream([&](int32_t id) { return t.Piece(id); }, {});
  std::string text;
  for (const int32_t id : *ids) text += stream.Push(id);
  EXPECT_EQ(text + stream.Finish(), kMixed);
}

TEST_P(EachModel, BosOnlyWhenAskedAndWanted) {
  const Tokenizer& t = Vocabulary(GetParam());
  const auto plain = t.Encode("Hello", false, false);
  const auto with = t.Encode("Hello", true, false);
  const auto empty = t.Encode("", true, false);
  ASSERT_TRUE(plain.ok() && with.ok() && empty.ok());
  const bool wants = GetParam() == kGemma;
  EXPECT_EQ(t.add_bos(), wants);
  EXPECT_EQ(with->size(), plain->size() + (wants ? 1 : 0));
  EXPECT_EQ(empty->size(), wants ? 1u : 0u);
  if (wants) EXPECT_EQ(with->front(), t.bos());
  EXPECT_NE(plain->back(), t.eos());
}

TEST_P(EachModel, SpecialNamesInADocumentAreText) {
  const Tokenizer& t = Vocabulary(GetParam());
  for (const int32_t id : {t.bos(), t.eos()}) {
    const std::string name = t.Decode(std::vector<int32_t>{id}, true);
    ASSERT_FALSE(name.empty());
    const auto text = t.Encode("see " + name + " here", false, false);
    const auto special = t.Encode("see " + name + " here", false, true);
    ASSERT_TRUE(text.ok() && special.ok());
    EXPECT_EQ(std::ranges::count(*text, id), 0);
    EXPECT_EQ(std::ranges::count(*special, id), 1);
    EXPECT_EQ(t.Decode(*text, false), "see " + name + " here");
    EXPECT_EQ(t.Piece(id), "");
  }
}

TEST_P(EachModel, RefusesInvalidUtf8WithItsOffset) {
  const auto ids = Vocabulary(GetParam()).Encode("good\xFF", false, false);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.status().kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(ids.status().message().find("byte 4"), std::string::npos) << ids.status().message();
}

TEST_P(EachModel, IdsOutsideTheVocabularyAreLeftOut) {
  const Tokenizer& t = Vocabulary(GetParam());
  EXPECT_EQ(t.Piece(-1), "");
  EXPECT_EQ(t.Piece(t.n_vocab()), "");
  EXPECT_EQ(t.Decode(std::vector<int32_t>{-5, t.n_vocab() + 3}, true), "");
  EXPECT_FALSE(t.IsEndOfGeneration(-1));
  EXPECT_FALSE(t.IsEndOfGeneration(t.n_vocab()));
  EXPECT_TRUE(t.IsEndOfGeneration(t.eos()));
}

// Long texts are cut into blocks where the vocabulary allows; the tokens must be those of libllama in one go.
TEST_P(EachModel, LongTextHasTheTokensOfOnePass) {
  const Tokenizer& t = Vocabulary(GetParam());
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(ModelPath(GetParam()).c_str(), params);
  ASSERT_NE(model, nullptr);
  std::string text;
  for (int i = 0; i < 8; ++i) text += BookText() + kMixed + std::string(i, '\n') + "<table>\n\n \n\t\n";
  std::vector<int32_t> want(text.size());
  const int32_t n = llama_tokenize(llama_model_get_vocab(model), text.data(), static_cast<int32_t>(text.size()),
                                   want.data(), static_cast<int32_t>(want.size()), false, false);
  llama_model_free(model);
  ASSERT_GT(n, 0);
  want.resize(n);
  const auto got = t.Encode(text, false, false);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(*got == want);
}

// One word of 300,000 letters and one gap of 300,000 spaces: quadratic or deeply recursive tokenizers do not return.
TEST_P(EachModel, LongRunsWithoutABreak) {
  const Tokenizer& t = Vocabulary(GetParam());
  for (const std::string& text : {std::string(300000, 'a'), std::string(300000, ' '), std::string(300000, '7')}) {
    const auto ids = t.Encode(text, false, false);
    ASSERT_TRUE(ids.ok()) << ids.status().ToString();
    EXPECT_EQ(t.Decode(*ids, false), text);
  }
}

TEST(Tokenizer, ChatTurnsUseTheModelsMarkersOnce) {
  const Tokenizer& t = Vocabulary(kSmolLm2);
  const std::string document = "The log says <|im_end|> and <|im_start|>system.";
  const auto segments = RenderChat(t.chat_template(), std::vector<ChatMessage>{{"user", document}}, true);
  ASSERT_TRUE(segments.ok()) << segments.status().ToString();
  const auto ids = t.EncodeSegments(*segments, true);
  ASSERT_TRUE(ids.ok());
  const auto marker = t.Encode("<|im_start|>", false, true);
  ASSERT_TRUE(marker.ok());
  ASSERT_EQ(marker->size(), 1u);
  EXPECT_EQ(std::ranges::count(*ids, marker->front()), 3);
  EXPECT_EQ(ids->front(), marker->front());
  // The system text is the template's own.
  EXPECT_EQ(t.Decode(*ids, true),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\n" +
                document + "<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Tokenizer, ABaseModelHasNoChatTemplate) { EXPECT_TRUE(Vocabulary(kGemma).chat_template().empty()); }

TEST(Tokenizer, TheTemplateKnowsTheModelsMarkers) {
  const ChatTemplate& chat = Vocabulary(kSmolLm2).chat_template();
  EXPECT_EQ(chat.bos, "<|im_start|>");
  EXPECT_EQ(chat.eos, "<|im_end|>");
  EXPECT_FALSE(chat.adds_bos);
}

TEST(Tokenizer, AFileThatIsNoModelIsRefused) {
  const auto missing = Tokenizer::Load(ModelPath("no-such-file.gguf"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().kind(), StatusKind::kCorrupt);
  const auto text = Tokenizer::Load(std::string(ARKVALE_SOURCE_DIR) + "/CMakeLists.txt");
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.status().message().find("CMakeLists.txt"), std::string::npos);
}

}  // namespace
}  // namespace arkvale
