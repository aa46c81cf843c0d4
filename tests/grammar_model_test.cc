// Answers of the real models under a grammar or a JSON schema.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "arkvale/engine.h"

namespace arkvale {
namespace {

std::unique_ptr<Engine> Open(const std::string& file) {
  const char* models = std::getenv("ARKVALE_MODELS");
  const std::string folder = models != nullptr ? models : std::string(ARKVALE_SOURCE_DIR) + "/models";
  auto engine = Engine::Open({.model_path = folder + "/" + file, .ctx_tokens = 1024});
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  return engine.ok() ? std::move(engine).value() : nullptr;
}

GenerateResult Answer(Engine& engine, bool chat, const std::string& prompt, const SamplingOptions& sampling) {
  GenerateRequest request{.context = prompt, .chat = chat, .max_tokens = 120, .sampling = sampling};
  const auto result = engine.Generate(request, {});
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return result.ok() ? *result : GenerateResult{};
}

class GrammarAnswers : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, GrammarAnswers,
                         testing::Values("SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"),
                         [](const auto& info) { return info.param[0] == 'g' ? "Gemma" : "SmolLM2"; });

TEST_P(GrammarAnswers, FollowTheGrammarAndTheSchema) {
  const auto engine = Open(GetParam());
  ASSERT_NE(engine, nullptr);
  const bool chat = engine->model().has_chat_template;
  for (const float temperature : {0.0f, 1.5f}) {
    const auto yes_no = Answer(*engine, chat, "Is the sky blue? Answer yes or no.\nAnswer:",
                               {.temperature = temperature, .seed = 5, .grammar = R"(root ::= "yes" | "no")"});
    EXPECT_TRUE(yes_no.text == "yes" || yes_no.text == "no") << yes_no.text;
    EXPECT_EQ(yes_no.stop_reason, "eog");

    const std::string schema = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
      "age": {"type": "integer", "minimum": 0, "maximum": 150}, "animal": {"enum": ["cat", "dog", "owl"]},
      "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}},
      "required": ["name", "age", "animal", "tags"], "additionalProperties": false})";
    const auto made = Answer(*engine, chat, "Describe a pet that is called Tom as JSON.\n",
                             {.temperature = temperature, .seed = 5, .json_schema = schema});
    if (made.stop_reason == "length") continue;  // the one case in which it may be cut
    EXPECT_EQ(made.stop_reason, "eog");
    const auto json = nlohmann::json::parse(made.text, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(json.is_object()) << made.text;
    EXPECT_EQ(json.size(), 4u) << made.text;
    EXPECT_TRUE(json["name"].is_string() && json["name"].get<std::string>().size() <= 80) << made.text;
    EXPECT_TRUE(json["age"].is_number_integer() && json["age"] >= 0 && json["age"] <= 150) << made.text;
    EXPECT_TRUE(json["animal"] == "cat" || json["animal"] == "dog" || json["animal"] == "owl") << made.text;
    EXPECT_TRUE(json["tags"].is_array() && !json["tags"].empty() && json["tags"].size() <= 3) << made.text;
    for (const auto& tag : json["tags"]) EXPECT_TRUE(tag.is_boolean()) << made.text;
  }
}

}  // namespace
}  // namespace arkvale
