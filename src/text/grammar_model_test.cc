#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "text/grammar.h"
#include "text/sampler.h"
#include "text/tokenizer.h"

namespace arkvale {
namespace {

const Tokenizer& SmolLm2() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    const char* models = std::getenv("ARKVALE_MODELS");
    const std::string folder = models != nullptr ? models : std::string(ARKVALE_SOURCE_DIR) + "/models";
    auto loaded = Tokenizer::Load(folder + "/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!loaded.ok()) throw std::runtime_error(loaded.status().ToString());
    return std::move(loaded).value();
  }();
  return *tokenizer;
}

std::string Error(const SamplingOptions& options) {
  const auto sampler = Sampler::Create(options, &SmolLm2());
  EXPECT_FALSE(sampler.ok()) << options.grammar.substr(0, 200) << options.json_schema.substr(0, 200);
  if (sampler.ok()) return {};
  EXPECT_EQ(sampler.status().kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(sampler.status().message().find('\n'), std::string::npos) << sampler.status().message();
  return sampler.status().message();
}

// A model that wants to write `text` (token by token as the tokenizer cuts it), and else prefers low ids.
std::string Answer(const SamplingOptions& options, const std::string& text, size_t max_tokens = 40) {
  const Tokenizer& t = SmolLm2();
  auto sampler = Sampler::Create(options, &t);
  if (!sampler.ok()) return sampler.status().ToString();
  const auto wish = t.Encode(text, false, false);
  std::string answer;
  for (size_t i = 0; i < max_tokens; ++i) {
    std::vector<float> logits(t.n_vocab());
    for (int32_t id = 0; id < t.n_vocab(); ++id) logits[id] = -1e-4f * static_cast<float>(id);
    if (i < wish->size()) logits[(*wish)[i]] = 50;
    const auto id = (*sampler)->Sample(logits);
    if (!id.ok()) return id.status().ToString();
    if (t.IsEndOfGeneration(*id)) return answer + "<end>";
    answer += t.Piece(*id);
  }
  return answer;
}

TEST(Grammar, OnlyWhatItAllowsThenTheEnd) {
  const std::string yes_no = R"(root ::= "yes" | "no")";
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_EQ(Answer({.temperature = temperature, .grammar = yes_no}, "yes, of course"), "yes<end>") << temperature;
    EXPECT_EQ(Answer({.temperature = temperature, .grammar = yes_no}, "no"), "no<end>") << temperature;
    const std::string other = Answer({.temperature = temperature, .grammar = yes_no}, "maybe");
    EXPECT_TRUE(other == "yes<end>" || other == "no<end>") << other;
  }
}

TEST(Grammar, TheEndIsRefusedUntilItIsComplete) {
  const Tokenizer& t = SmolLm2();
  auto grammar = Grammar::Create({.grammar = R"(root ::= "a" "b"?)"}, t);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  const auto a = t.Encode("a", false, false), b = t.Encode("b", false, false);
  EXPECT_FALSE(*(*grammar)->Allows(t.eos()));
  EXPECT_FALSE(*(*grammar)->Allows(b->front()));
  ASSERT_TRUE((*grammar)->Accept(a->front()).ok());
  EXPECT_TRUE(*(*grammar)->Allows(t.eos()));
  EXPECT_TRUE(*(*grammar)->Allows(b->front()));
  EXPECT_FALSE(*(*grammar)->Allows(a->front()));
}

// Their text is empty: they would only eat up the characters that the grammar counts.
TEST(Grammar, ControlTokensAreNoText) {
  const Tokenizer& t = SmolLm2();
  auto grammar = Grammar::Create({.grammar = "root ::= [^x]+"}, t);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  const auto marker = t.Encode("<|im_start|>", false, true);
  ASSERT_EQ(marker->size(), 1u);
  EXPECT_FALSE(*(*grammar)->Allows(marker->front()));
  EXPECT_TRUE(*(*grammar)->Allows(t.Encode("<", false, false)->front()));
}

TEST(Grammar, JsonSchemaGivesJson) {
  const std::string schema = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
    "age": {"type": "integer", "minimum": 0, "maximum": 150}, "kind": {"enum": ["cat", "dog"]}},
    "required": ["name", "age", "kind"], "additionalProperties": false})";
  EXPECT_EQ(Answer({.json_schema = schema}, R"({"name":"Tom","age":7,"kind":"cat"})"),
            R"({"name":"Tom","age":7,"kind":"cat"}<end>)");
  const std::string forced = Answer({.json_schema = schema}, R"({"name":"Tom","age":151,"kind":"cow"})", 100);
  EXPECT_EQ(forced.find("151"), std::string::npos) << forced;
  EXPECT_EQ(forced.find("cow"), std::string::npos) << forced;
}

TEST(Grammar, QuotesTheReasonAndThePlace) {
  const auto expect = [](const SamplingOptions& options, const std::string& word) {
    const std::string message = Error(options);
    EXPECT_NE(message.find(word), std::string::npos) << message;
  };
  expect({.grammar = "root ::= \"a\"\nb : \"c\"\n"}, "expecting ::= at line 2, column 3: ': \"c\"'");
  expect({.grammar = "root ::= (\"a\""}, "expecting ')' at line 1, column 14 (the end)");
  expect({.grammar = "root ::= nothing"}, "Undefined rule identifier 'nothing'");
  expect({.grammar = "other ::= \"a\""}, "'root'");
  expect({.grammar = "root ::= root \"a\" | \"b\""}, "left recursion");
  expect({.grammar = "root ::= \"a\"{3000}"}, "number of repetitions");
  expect({.grammar = " "}, "cannot be used");
  expect({.grammar = "root ::= \"\xFF\""}, "invalid UTF-8 at byte 10");
  expect({.grammar = std::string("root ::= \"\0\"", 12)}, "a zero at byte 10");
  expect({.grammar = std::string(kMaxGrammarBytes + 1, ' ')}, "> limit");
  expect({.json_schema = "{\"type\": "}, "line 1, column 10");
  expect({.json_schema = "{\"type\": \"strin\"}"}, "strin");
  expect({.json_schema = "{\"$ref\": \"https://example.org/x\"}"}, "$ref");
  expect({.json_schema = "{\"type\": \"string\", \"pattern\": \"[a-z]\"}"}, "[a-z]");
  expect({.grammar = "root ::= \"a\"", .json_schema = "{}"}, "give one of them");
}

// Each would take all memory, overflow the stack, or run for years.
TEST(Grammar, HostileSourcesEndWithAnError) {
  std::string doubling = "root ::= r0\n", chain = "root ::= r0\n", nested, deep_schema, refs = R"({"$defs": {)";
  for (int i = 0; i < 60; ++i) {
    doubling += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | r" + std::to_string(i + 1) + "\n";
    const std::string next = R"({"$ref": "#/$defs/)" + std::to_string(i + 1) + R"("})";
    refs += "\"" + std::to_string(i) + R"(": {"anyOf": [)" + next + ", " + next + "]}, ";
  }
  for (int i = 0; i < 12000; ++i) {
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
    nested += "(";
    if (i < 7000) deep_schema += R"({"not":)";
  }
  // No error: time that does not double with every rule.
  EXPECT_TRUE(Sampler::Create({.grammar = doubling + "r60 ::= \"a\""}, &SmolLm2()).ok());
  refs += R"("60": {"type": "null"}}, "$ref": "#/$defs/0"})";
  EXPECT_TRUE(Sampler::Create({.json_schema = refs}, &SmolLm2()).ok());
  Error({.grammar = chain + "r12000 ::= \"a\""});
  Error({.grammar = "root ::= " + nested});
  Error({.grammar = "root ::= " + nested + "\"a\"" + std::string(nested.size(), ')') + "x"});
  Error({.grammar = "root ::= \"" + std::string(100000, 'x') + "\"{2000}"});
  Error({.json_schema = std::string(30000, '[')});
  Error({.json_schema = R"({"type": "array", "items": {"type": "null"}, "minItems": 1000000000})"});
  // Two readings a character: refused when it is met.
  const std::string ambiguous = "root ::= s \"!\"\ns ::= \"a\" s b | \"a\" s c | \"a\"\nb ::= \"b\"\nc ::= \"b\" [b]";
  EXPECT_NE(Answer({.grammar = ambiguous}, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").find("ambiguous"),
            std::string::npos);
}

}  // namespace
}  // namespace arkvale
