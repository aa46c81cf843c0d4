#include "tools/eval/ruler_text.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>

#include "base/sha256.h"
#include "tools/eval/ruler_book.h"
#include "tools/eval/ruler_draw.h"

namespace arkvale::tools {
namespace {

std::string Hash(const std::string& text) { return Sha256Hex(text).substr(0, 16); }

// The sentences of the novel that the published hashes are of; none where ARKVALE_BOOKS names no folder with it.
std::vector<std::string> Novel() {
  const char* dir = std::getenv("ARKVALE_BOOKS");
  if (dir == nullptr) return {};
  std::stringstream text;
  text << std::ifstream(std::string(dir) + "/frankenstein.txt").rdbuf();
  return BookSentences(text.str());
}

struct Published {
  const char* task;
  int64_t length_tokens, size;
  const char *context_hash, *question_hash, *refs;
};

// Evaluation protocol, section 10, which shortens the refs of `cwe` and leaves those at T = 4096 to the context's hash.
constexpr Published kPublished[] = {
    {"niah_single_1", 0, 10, "e3cbb3d68e8e323f", "63ba8c9fc3b38fcf", "4038859"},
    {"niah_single_2", 0, 50, "0bfc625a16ab8fae", "f0289e81e0bb8761", "9360453"},
    {"niah_single_3", 0, 50, "eea9ff91118e5496", "1dba9944bc4ce263", "e9272ff6-e2a5-4936-aa4a-f0be562181bf"},
    {"niah_multikey_1", 0, 50, "cf46fbb85501757f", "6416907d4fd978b2", "5273194"},
    {"niah_multikey_2", 0, 10, "bac4e16683009310", "b8bbca5b738f02b7", "8824070"},
    {"niah_multikey_3", 0, 10, "57add2bb568e6e73", "8391369810d21886", "7ac14b22-1c43-4707-8421-66dfbc1e8ffe"},
    {"niah_multivalue", 0, 50, "2fbaab8f304237da", "ddb00cf39d51f202", "4676200 2613318 9435827 9947892"},
    {"niah_multiquery", 0, 50, "72a9994d00c5a201", "f870c971043f65b5", "4786326 5375236 7296879 1887769"},
    {"vt", 0, 10, "0acdf931e6473ca2", "a4ca861357f98d5b", "VIRAA LOZFV JBMSO XCLOW MRBHI"},
    {"cwe", 0, 20, "e3dd0c18ccfc21b2", "1922f8873cebf578",
     "nujise vezula tapito pibaro tejici gahode wehomo pulere joline fifojo"},
    {"cwe", 4096, 40, "03d133118080d3ef", "1922f8873cebf578",
     "fezadu coliwa hutolo cinige cafika webufu mofaka sicala rewaba ziwino"},
    {"fwe", 0, 200, "a6293716401a1470", "283bfea6b732664e", "ggudmz dsrazh vmomkl"},
    {"fwe", 4096, 2000, "744b842525450e29", "283bfea6b732664e", "imtbrb sdveif qkdvtb"},
};

void ExpectPublished(const Published& p, std::span<const std::string> book) {
  const RulerTask* task = FindRulerTask(p.task);
  ASSERT_NE(task, nullptr) << p.task;
  const RulerText text = MakeRulerText(*task, 42, p.length_tokens, 0, p.size, book);
  EXPECT_EQ(Hash(text.context), p.context_hash) << p.task << "\n" << text.context.substr(0, 2000);
  EXPECT_EQ(Hash(text.question), p.question_hash) << p.task << "\n" << text.question;
  EXPECT_EQ(Join(text.refs, " "), p.refs) << p.task;
}

TEST(RulerText, MatchesPublishedHashes) {
  for (const Published& p : kPublished) {
    if (FindRulerTask(p.task)->haystack != RulerHaystack::kBook) ExpectPublished(p, {});
  }
}

TEST(RulerText, MatchesPublishedHashesOfANovel) {
  const auto book = Novel();
  if (book.empty()) GTEST_SKIP() << "ARKVALE_BOOKS names no folder with frankenstein.txt";
  ASSERT_EQ(book.size(), 3372u);
  EXPECT_EQ(Hash(Join(book, "\n")), "daee8eaad30eb2c6");
  for (const Published& p : kPublished) {
    if (FindRulerTask(p.task)->haystack == RulerHaystack::kBook) ExpectPublished(p, book);
  }
}

TEST(RulerText, SentencesKeepWhatClosesThem) {
  using Sentences = std::vector<std::string>;
  EXPECT_EQ(BookSentences("  One.\n\tTwo \r\n two?  \"Three!\" he said.) Four"),
            (Sentences{"One.", "Two two?", "\"Three!\"", "he said.)", "Four"}));
  EXPECT_EQ(BookSentences("\u201cWell\u2026\u201d \u201cDone.\u2019\u201d 3.14 is pi... \u2019Tis.\u2014So."),
            (Sentences{"\u201cWell\u2026\u201d \u201cDone.\u2019\u201d", "3.14 is pi...", "\u2019Tis.\u2014So."}));
  EXPECT_EQ(BookSentences("A. B."), (Sentences{"A.", "B."}));
  EXPECT_TRUE(BookSentences("").empty());
  EXPECT_TRUE(BookSentences(" \n\t").empty());
}

TEST(RulerText, NeedlesStandWhereTheyAreDrawnAndTheBookWrapsAround) {
  const std::vector<std::string> book = {"a.", "b.", "c."};
  const RulerTask* task = FindRulerTask("MK-1");
  ASSERT_NE(task, nullptr);
  for (int64_t i = 0; i < 20; ++i) {
    const RulerText text = MakeRulerText(*task, 1, 0, i, 7, book);
    const std::string haystack = text.context.substr(text.context.find('\n') + 1);
    const auto sentences = BookSentences(haystack);
    ASSERT_EQ(sentences.size(), 7u + 4u) << haystack;
    std::string letters;
    for (const std::string& s : sentences) letters += s.size() == 2 ? s.substr(0, 1) : "";
    EXPECT_NE(std::string("abcabcabc").find(letters), std::string::npos) << letters;
    EXPECT_NE(haystack.find(" is: " + text.refs.at(0) + "."), std::string::npos);
  }
}

TEST(RulerText, FrequentWordsFollowTheirRanks) {
  const RulerText text = MakeRulerText(*FindRulerTask("fwe"), 42, 1024, 0, 500, {});
  const auto count = [&](const std::string& word) {
    int64_t n = 0;
    for (size_t at = text.context.find(word); at != std::string::npos; at = text.context.find(word, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count(" ..."), 303);  // 500 / 1 / (pi^2 / 6)
  EXPECT_EQ(count(text.refs[0]), 75);
  EXPECT_EQ(count(text.refs[1]), 33);
  EXPECT_EQ(count(text.refs[2]), 18);
}

TEST(RulerText, SeedLengthAndIndexNameARecord) {
  const RulerTask& task = *FindRulerTask("niah_multikey_3");
  const RulerText text = MakeRulerText(task, 42, 1024, 3, 9, {});
  EXPECT_EQ(MakeRulerText(task, 42, 1024, 3, 9, {}).context, text.context);
  EXPECT_NE(MakeRulerText(task, 43, 1024, 3, 9, {}).context, text.context);
  EXPECT_NE(MakeRulerText(task, 42, 1025, 3, 9, {}).context, text.context);
  EXPECT_NE(MakeRulerText(task, 42, 1024, 4, 9, {}).context, text.context);
  EXPECT_EQ(text.refs.at(0).size(), 36u);
  EXPECT_EQ(text.refs.at(0)[14], '4') << "version 4";
}

TEST(RulerText, TasksHaveTwoNames) {
  EXPECT_EQ(RulerTasks().size(), 11u);
  EXPECT_EQ(FindRulerTask("S-2"), FindRulerTask("niah_single_2"));
  EXPECT_EQ(FindRulerTask("VT")->max_new, 30);
  EXPECT_EQ(FindRulerTask("niah_single_4"), nullptr);
  EXPECT_EQ(FindRulerTask(""), nullptr);
}

TEST(RulerScore, AllIsAShareAndPartIsAny) {
  const std::vector<std::string> refs = {"VIRAA", "lozfv", "JBMSO", "a\tb"};
  EXPECT_EQ(RulerScore(" viraa, LOZFV", refs, RulerRule::kAll), 0.5);
  EXPECT_EQ(RulerScore(" viraa, LOZFV", refs, RulerRule::kPart), 1);
  EXPECT_EQ(RulerScore("A\nB", refs, RulerRule::kAll), 0.25) << "bytes below 0x20 are newlines";
  EXPECT_EQ(RulerScore("none", refs, RulerRule::kPart), 0);
  EXPECT_EQ(RulerScore("", refs, RulerRule::kAll), 0);
  EXPECT_EQ(RulerScore("x", {}, RulerRule::kAll), 0);
}

}  // namespace
}  // namespace arkvale::tools
