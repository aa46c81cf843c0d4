#include "plan/plan_file.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace arkvale {
namespace {

constexpr const char* kText = R"({"version":1, "kind":"arkvale", "model_fingerprint":"a1b2",
 "page_tokens":32, "window_tokens":8,
 "layers":[
  null,
  {"budget_tokens":1024, "topk_pages":16},
  {"budget_tokens":320, "topk_pages":0}],
 "made_by":{"model":"SmolLM2 \"small\"","samples":20}}
)";

KvPlan Plan() {
  return {.kind = PlanKind::kArkvale,
          .model_fingerprint = "a1b2",
          .model_name = "SmolLM2 \"small\"",
          .page_tokens = 32,
          .window_tokens = 8,
          .layers = {std::nullopt, LayerPlan{1024, 16}, LayerPlan{320, 0}},
          .made_by = R"({"samples":20})"};
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = kText;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

void ExpectCorrupt(std::string_view text, const std::string& words) {
  const Status status = ParsePlan(text).status();
  EXPECT_EQ(status.kind(), StatusKind::kCorrupt) << words;
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
  EXPECT_LT(status.message().size(), 400u);
}

TEST(PlanFile, TextAndBack) {
  const auto text = FormatPlan(Plan());
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, kText);
  const auto plan = ParsePlan(kText);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(*plan, Plan());
}

TEST(PlanFile, XkvAndBackWithTheLargestValues) {
  KvPlan plan{.model_fingerprint = std::string(256, '"'), .window_tokens = 64};
  plan.layers.assign(4096, LayerPlan{INT32_MAX});
  plan.layers[17] = {};
  const auto text = FormatPlan(plan);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto back = ParsePlan(*text);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, plan);
}

TEST(PlanFile, EveryTruncationIsRefused) {
  const std::string_view text = kText;
  for (size_t n = 0; n + 1 < text.size(); ++n) ExpectCorrupt(text.substr(0, n), "no JSON at byte");
  ExpectCorrupt(text.substr(0, 100), "no JSON at byte 101 of 100: the file is cut off or damaged");
  EXPECT_TRUE(ParsePlan(text.substr(0, text.size() - 1)).ok());  // the newline
  ExpectCorrupt(std::string(text) + "{}", "no JSON at byte");
  ExpectCorrupt(std::string(text) + '\0' + "more", "no JSON at byte " + std::to_string(text.size() + 1));
}

TEST(PlanFile, ChangedBytesGiveAValidPlanOrOneLine) {
  Rng rng("plan/bytes");
  int valid = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = kText;
    for (uint64_t i = 0; i <= rng.Below(3); ++i) text[rng.Below(text.size())] = static_cast<char>(rng.Below(256));
    const auto plan = ParsePlan(text);
    valid += plan.ok() ? 1 : 0;
    if (plan.ok()) {
      EXPECT_TRUE(plan->Validate().ok());
      const auto again = FormatPlan(*plan);
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(*ParsePlan(*again), *plan);
    } else {
      EXPECT_EQ(plan.status().kind(), StatusKind::kCorrupt);
      EXPECT_EQ(plan.status().message().find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(valid, 100);
}

TEST(PlanFile, UnknownVersionsSayWhichIsKnown) {
  for (const char* version : {"2", "0", "-1", "1.5", "\"1\"", "null", "18446744073709551615", "[1]"}) {
    ExpectCorrupt(With("\"version\":1", "\"version\":" + std::string(version)),
                  "plan version " + std::string(version) + " is unknown: this program reads version 1");
  }
  // Before anything else: a later version may have other fields.
  ExpectCorrupt(R"({"version":2, "other":[]})", "plan version 2 is unknown");
  ExpectCorrupt("{}", "field \"version\" is missing");
}

TEST(PlanFile, WrongTypesAreNamed) {
  for (const char* text : {"null", "1", "\"plan\"", "[]", "true"}) ExpectCorrupt(text, ", not an object");
  ExpectCorrupt(With("\"arkvale\"", "\"quest\""), "field \"kind\" is \"quest\", not \"xkv\" or \"arkvale\"");
  ExpectCorrupt(With("\"arkvale\"", "7"), "field \"kind\" is 7");
  ExpectCorrupt(With("\"a1b2\"", "17"), "field \"model_fingerprint\" is 17, not a string");
  ExpectCorrupt(With("\"page_tokens\":32", "\"page_tokens\":32.0"), "field \"page_tokens\" is 32.0, not a whole");
  ExpectCorrupt(With("\"window_tokens\":8", "\"window_tokens\":null"), "field \"window_tokens\" is null");
  ExpectCorrupt(With("null", "0"), "layer 0: is 0, not an object");
  ExpectCorrupt(With("1024", "\"1024\""), "layer 1: field \"budget_tokens\" is \"1024\", not a whole number");
  ExpectCorrupt(With("1024", "true"), "layer 1: field \"budget_tokens\" is true");
  ExpectCorrupt(With("{\"model\":\"SmolLM2 \\\"small\\\"\",\"samples\":20}", "[]"), "\"made_by\" is [], not an object");
  ExpectCorrupt(R"({"version":1,"kind":"xkv","model_fingerprint":"a","page_tokens":1,"window_tokens":8,"layers":{},)"
                R"("made_by":{}})",
                "field \"layers\" is {}, not a list");
}

TEST(PlanFile, MissingAndUnknownFieldsAreNamed) {
  for (const char* name : {"kind", "model_fingerprint", "page_tokens", "window_tokens", "layers", "made_by"}) {
    ExpectCorrupt(With("\"" + std::string(name) + "\"", "\"x\""), "field \"x\" is unknown");
  }
  ExpectCorrupt(With("\"kind\":\"arkvale\", ", ""), "field \"kind\" is missing");
  ExpectCorrupt(With(", \"topk_pages\":16", ""), "layer 1: field \"topk_pages\" is missing");
  ExpectCorrupt(With("topk_pages", "topk_page"), "layer 1: field \"topk_page\" is unknown");
}

TEST(PlanFile, NumbersOutOfRange) {
  for (const char* number : {"-1", "-9223372036854775808", "0", "2147483648", "9223372036854775807"}) {
    ExpectCorrupt(With("1024", number), "layer 1: budget_tokens " + std::string(number) + ": use 32 to 2147483647");
  }
  for (const char* number : {"9223372036854775808", "18446744073709551615", "18446744073709551616", "1e30", "0.5"}) {
    ExpectCorrupt(With("1024", number), "not a whole number of 64 bits");
  }
  ExpectCorrupt(With("16", "2147483648"), "field \"topk_pages\" is 2147483648, not a whole number of 32 bits");
  ExpectCorrupt(With("16", "-4294967295"), "not a whole number of 32 bits");
  ExpectCorrupt(With("1024", "1e400"), "too large");
  for (const char* number : {"NaN", "Infinity", "-Infinity", "0x10", "+1", "01"}) {
    ExpectCorrupt(With("1024", number), "no JSON at byte");
  }
}

TEST(PlanFile, FieldsThatComeTwice) {
  ExpectCorrupt(With("\"kind\"", "\"version\":1, \"kind\""), "field \"version\" stands twice");
  ExpectCorrupt(With("\"topk_pages\":16", "\"budget_tokens\":64"), "field \"budget_tokens\" stands twice");
  ExpectCorrupt(With("\"samples\":20", "\"s\":[{\"t\":1,\"t\":2}]"), "field \"t\" stands twice");
  EXPECT_TRUE(ParsePlan(With("\"samples\":20", "\"s\":[{\"t\":1},{\"t\":2}]")).ok());
}

TEST(PlanFile, DeepNestingAndLongLists) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    while (deep.size() + 8 < kMaxPlanBytes) deep += open;
    ExpectCorrupt(deep, "more than 16 lists and objects in each other");
    ExpectCorrupt(With("20}", deep.substr(0, deep.size() / 2) + "}"), "more than 16 lists and objects in each other");
  }
  EXPECT_TRUE(ParsePlan(With("20}", std::string(14, '[') + std::string(14, ']') + "}")).ok());
  ExpectCorrupt(With("20}", std::string(15, '[') + std::string(15, ']') + "}"), "more than 16 lists");
  std::string nulls = "null";
  for (int i = 0; i < 100'000; ++i) nulls += ",null";
  ExpectCorrupt(With("null", nulls), "100003 layers: use 1 to 4096");
  ExpectCorrupt(std::string(kMaxPlanBytes + 1, ' '), "1048577 bytes > 1048576: this is no plan");
}

TEST(PlanFile, ManyKeysAreReadInTime) {
  std::string keys;
  for (int i = 0; i < 80'000; ++i) keys += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(ParsePlan(With("\"samples\"", keys + "\"samples\"")).ok());
}

TEST(PlanFile, TextsThatAreNotUtf8) {
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\\ud800"}) {
    ExpectCorrupt(With("SmolLM2", bad), "no JSON at byte");
  }
  ExpectCorrupt(With("\"a1b2\"", "\"\xc3\xa9\""), "model_fingerprint");
  KvPlan plan = Plan();
  plan.model_name = "caf\xe9";
  const auto text = FormatPlan(plan);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(ParsePlan(*text)->model_name, "caf\xEF\xBF\xBD");
}

TEST(PlanFile, MadeByIsKeptAndTheModelMayBeAnything) {
  EXPECT_EQ(ParsePlan(With("\"SmolLM2 \\\"small\\\"\"", "[1, 2]"))->made_by, R"({"model":[1,2],"samples":20})");
  EXPECT_EQ(ParsePlan(With("\"SmolLM2 \\\"small\\\"\"", "[1, 2]"))->model_name, "");
}

TEST(PlanFile, OnlyValidPlansAreWritten) {
  const auto refused = [](auto change, const std::string& words) {
    KvPlan plan = Plan();
    change(plan);
    const Status status = FormatPlan(plan).status();
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  };
  refused([](KvPlan& p) { p.layers[1]->budget_tokens = 7; }, "layer 1: budget_tokens 7");
  refused([](KvPlan& p) { p.made_by = ""; }, "made_by: no JSON");
  refused([](KvPlan& p) { p.made_by = "[]"; }, "made_by is [], not an object");
  refused([](KvPlan& p) { p.made_by = "{\"a\":\"" + std::string(kMaxPlanBytes, 'a') + "\"}"; }, "shorten made_by");
}

}  // namespace
}  // namespace arkvale
