#include "tools/eval/longbench_sets.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/sha256.h"

namespace arkvale::tools {
namespace {

const LongBenchSet& Set(const std::string& name) { return **FindLongBenchSet(name); }

size_t Count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(LongBenchSets, SixteenOfThemSplitAtTheContext) {
  EXPECT_EQ(LongBenchSets().size(), 16u);
  for (const LongBenchSet& set : LongBenchSets()) {
    EXPECT_EQ(Count(set.prompt_template, "{context}"), 1u) << set.name;
    EXPECT_LE(Count(set.prompt_template, "{input}"), 1u) << set.name;
    EXPECT_EQ(Count(set.prompt_template, "{"), Count(set.prompt_template, "}")) << set.name;
    EXPECT_TRUE(set.prompt_template.find("{input}") > set.prompt_template.find("{context}")) << set.name;
    EXPECT_EQ(&Set(std::string(set.name)), &set);
    EXPECT_EQ(set.first_line, set.name == "trec" || set.name == "triviaqa" || set.name == "samsum") << set.name;
    EXPECT_EQ(set.chat, !set.first_line && set.metric != LongBenchMetric::kCodeSim) << set.name;
    EXPECT_EQ(set.ends_at_line, set.name == "samsum");
  }
}

TEST(LongBenchSets, AnUnknownOneIsRefused) {
  const auto near = FindLongBenchSet("qaspr");
  EXPECT_EQ(near.status().kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(near.status().message().find("did you mean qasper?"), std::string::npos) << near.status().message();
  EXPECT_NE(FindLongBenchSet("").status().message().find("repobench-p"), std::string::npos);
}

TEST(LongBenchSets, ATemplateIsFilledInOnePass) {
  const FilledPrompt prompt = FillTemplate("A {context} B {input} C", "x {input} {context} y", "z {context} {input}");
  EXPECT_EQ(prompt.context, "A x {input} {context} y");
  EXPECT_EQ(prompt.question, " B z {context} {input} C");
  const FilledPrompt no_input = FillTemplate("A {context} B", "x", "z");
  EXPECT_EQ(no_input.context + "|" + no_input.question, "A x| B");
}

TEST(LongBenchSets, FewShotSetsScoreTheFirstLineAlone) {
  const std::vector<std::string> answers = {"Paris"};
  EXPECT_EQ(ScorePrediction(Set("triviaqa"), "\n\nParis\nPassage: more", answers, {}).score, 1);
  EXPECT_LT(ScorePrediction(Set("qasper"), "\n\nParis\nPassage: more", answers, {}).score, 1);
}

TEST(LongBenchSets, AgreementReadsBothTextsAsPredictions) {
  EXPECT_EQ(Agreement(Set("triviaqa"), "Paris\nPassage: one", "Paris\nQuestion: two", {}), 1);
  EXPECT_EQ(Agreement(Set("lcc"), "x = 1\ny = 2", "# first\nx = 1\nz = 3", {}), 1);
  EXPECT_EQ(Agreement(Set("qasper"), "red blue", "red", {}), 2.0 / 3);
}

}  // namespace
}  // namespace arkvale::tools
