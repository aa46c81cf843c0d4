#include "tools/eval/longbench_metrics.h"

#include <gtest/gtest.h>

#include <vector>

#include "tools/eval/matching_blocks.h"

namespace arkvale::tools {
namespace {

struct Vector {
  const char* prediction;
  const char* gold;
  double score;
};

using Metric = double (*)(std::string_view, std::string_view);

void Check(Metric metric, const std::vector<Vector>& vectors) {
  for (const Vector& v : vectors) {
    EXPECT_NEAR(metric(v.prediction, v.gold), v.score, 1e-10) << "'" << v.prediction << "' for '" << v.gold << "'";
  }
}

// The vectors named "published" are those of evaluation protocol 10.
TEST(LongBenchMetrics, QaF1Published) {
  Check(QaF1, {{"The keeper waits, in a hall of Elders.", "the keeper waits in the hall of the elders", 1},
               {"The answer is: Norwich City", "Norwich", 0.4},
               {"1,234 well-known A-list actors", "1234 wellknown actors", 6.0 / 7},
               {"no no no yes", "no yes yes", 4.0 / 7},
               {"A.", "a", 0},
               {"don\u2019t stop", "don't stop", 0.5},
               {"\u201Cthe cat\u201D sat", "the cat sat", 0.4}});
}

TEST(LongBenchMetrics, QaF1NormalisesAsUnicodeHasIt) {
  Check(QaF1, {{"\u00C9COLE", "\u00E9cole", 1},
               {"one\u00A0two", "one two", 1},
               {"th\u00E9 cat", "th\u00E9", 2.0 / 3},  // "the" is no part of it
               {"the_cat", "thecat", 1},               // '_' goes before articles are looked for
               {"a\u2014the", "\u2014", 1},            // dashes stay and part words
               {"", "x", 0},
               {"", "", 0},
               {"the", "the", 0}});
}

TEST(LongBenchMetrics, RougeLPublished) {
  Check(RougeL, {{"the cat sat on the mat", "the cat is on the mat", 0.7999999950},
                 {"The cat sat on the mat.", "the cat sat on the mat", 0.9090909041},
                 {"p q x y z. p r u v t", "p q r s t", 0.5714285668},
                 {"a b a c", "c a b", 0.6666666617},
                 {"Rain fell. ", "Rain fell.", 0.7999999952},
                 {"Rain fell.", "Rain fell.", 0.9999999950},
                 {"", "x", 0},
                 {"...", "x", 0},
                 {" ", "x", 0}});
  // Where the table has equals above and left, the walk goes left: asked of the package itself.
  Check(RougeL, {{"a a b", "a b a", 0.499999995}, {"a b a", "a a b", 0.999999995}});
  EXPECT_EQ(RougeL("x", ""), 0);
  EXPECT_NEAR(RougeL("a\u00A0 b\n", "a b"), 1, 1e-8);
}

TEST(LongBenchMetrics, RetrievalPublished) {
  Check(Retrieval, {{"Paragraph 6, or 16", "Paragraph 6", 0.5}, {"06", "Paragraph 6", 0}, {"6.6", "Paragraph 6", 1}});
  Check(Retrieval, {{"none", "Paragraph 6", 0},
                    {"6", "Paragraph six, Paragraph 6", 1},
                    {"12 and 13 and 1213", "Paragraph 12", 1.0 / 3},
                    {"6", "no number", 0}});
  Check(CountScore, {{"There are 8, no, 9.", "9", 0.5}, {"9", "9", 1}, {"", "9", 0}, {"19", "9", 0}});
}

TEST(LongBenchMetrics, ClassificationKeepsTheBenchmarksQuirk) {
  const std::vector<std::string> classes = {"a", "ab", "abc"};
  EXPECT_EQ(Classification("abc", "abc", classes), 0.5) << "published: 'a' goes, 'ab' is skipped";
  EXPECT_EQ(Classification("abc", "abc", std::vector<std::string>{"a", "abc"}), 1);
  EXPECT_EQ(Classification("abc x", "abc", std::vector<std::string>{"a", "x", "ab", "abc"}), 0.5) << "'a', 'ab' go";
  EXPECT_NEAR(Classification("abc x", "abc", std::vector<std::string>{"a", "ab", "x", "abc"}), 1.0 / 3, 1e-15);
  EXPECT_EQ(Classification("ab", "abc", classes), 0);
  EXPECT_EQ(Classification("Abc x", "x", std::vector<std::string>{"abc", "x"}), 1) << "case counts";
  EXPECT_NEAR(Classification("x y z", "x", std::vector<std::string>{"x", "y", "z"}), 1.0 / 3, 1e-15);
}

TEST(LongBenchMetrics, CodeSimPublished) {
  Check(CodeSim, {{"# c\nfoo(bar)\n", "foo(baz)", 0.88},
                  {"wxyz", "xyzw", 0.75},
                  {"int total = 0;", "int count = 10;", 0.69},
                  {"", "x", 0}});
  Check(CodeSim, {{"\n\n`a`\n// b\nx", "x", 1}, {"# only", "x", 0}, {"# only", "", 1}, {"\u00E9a", "\u00E9b", 0.5}});
  EXPECT_EQ(FirstCodeLine("\n\nx = 1\ny"), "x = 1");
  EXPECT_EQ(FirstCodeLine("# a\n\nb"), "") << "an empty line is a line";
  EXPECT_EQ(FirstCodeLine("`"), "");
}

// Python's difflib, asked for these by hand.
TEST(MatchingBlocks, LikeDifflib) {
  EXPECT_EQ(MatchingRatio(U"abcd", U"bcde"), 0.75);
  EXPECT_EQ(MatchingRatio(U"qabxcd", U"abycdf"), 0.67);
  EXPECT_EQ(MatchingRatio(U"", U""), 1);
  EXPECT_EQ(MatchingRatio(U"a", U""), 0);
  // 'x' is popular in a gold of 200 characters: it extends a block, and begins none.
  const std::u32string gold = U"w" + std::u32string(198, U'x') + U"y";
  EXPECT_EQ(MatchingRatio(U"xxz", gold), 0);
  EXPECT_EQ(MatchingRatio(U"zxxy", gold), 0.03);
  EXPECT_EQ(MatchingRatio(U"xxz", gold.substr(0, 199)), 0.02) << "199 characters: nothing is popular";
}

TEST(LongBenchMetrics, FirstLine) {
  EXPECT_EQ(FirstLine("\n\n yes\nno"), " yes");
  EXPECT_EQ(FirstLine("yes"), "yes");
  EXPECT_EQ(FirstLine("\n"), "");
  EXPECT_EQ(FirstLine(""), "");
}

TEST(LongBenchMetrics, TheBestAnswerCounts) {
  const std::vector<std::string> answers = {"red", "blue sky", "sky blue"};
  const BestScore best = ScoreAnswers(LongBenchMetric::kQaF1, "blue sky", answers, {});
  EXPECT_EQ(best.score, 1);
  EXPECT_EQ(best.answer, 1) << "the first of equals";
  EXPECT_EQ(ScoreAnswers(LongBenchMetric::kQaF1, "green", answers, {}).answer, 0);
}

TEST(LongBenchMetrics, LengthBuckets) {
  EXPECT_EQ(LengthBucket(3999), 0);
  EXPECT_EQ(LengthBucket(4000), 1);
  EXPECT_EQ(LengthBucket(7999), 1);
  EXPECT_EQ(LengthBucket(8000), 2);
}

}  // namespace
}  // namespace arkvale::tools
