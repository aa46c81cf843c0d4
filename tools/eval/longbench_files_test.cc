// The vectors of evaluation protocol 10 that need the benchmark's records, which are no part of this project:
// ARKVALE_LONGBENCH names a folder that has them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "base/sha256.h"
#include "tools/eval/longbench_records.h"
#include "tools/eval/longbench_sets.h"
#include "tools/eval/unicode_text.h"

namespace arkvale::tools {
namespace {

class LongBenchFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* dir = std::getenv("ARKVALE_LONGBENCH");
    if (dir == nullptr || *dir == '\0') GTEST_SKIP() << "ARKVALE_LONGBENCH names no folder of LongBench records";
    dir_ = dir;
  }
  std::vector<LongBenchRecord> Read(const std::string& set) {
    auto records = ReadLongBench(LongBenchPath(dir_, set), false);
    EXPECT_TRUE(records.ok()) << records.status().ToString();
    return records.ok() ? std::move(*records) : std::vector<LongBenchRecord>();
  }

  std::string dir_;
};

// The first characters of a UTF-8 text.
std::string Head(const std::string& text, size_t n_characters) {
  size_t end = 0;
  for (; end < text.size(); ++end) {
    if ((static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) continue;
    if (n_characters-- == 0) break;
  }
  return text.substr(0, end);
}

TEST_F(LongBenchFiles, PromptsHaveThePublishedHashes) {
  struct Published {
    const char* set;
    const char* first;  // of record 0
    const char* all;    // of all prompts joined by newlines
  };
  for (const Published& p : {Published{"hotpotqa", "8ad8c16bd184f3c3", "1277d8e172970420"},
                             {"2wikimqa", "4cdf6d79836fe657", "8200289782e414f6"},
                             {"narrativeqa", "873588bd26c48417", "1adcf069d8ccfec0"},
                             {"qasper", "31f2c87c9fc99a29", "304e6b5b84e8d28f"},
                             {"gov_report", "becb99ef5d7771ca", "41123d6d0f6fd64e"},
                             {"triviaqa", "d08f67f76ecb37a9", "4f4f7c6f63c6e82a"},
                             {"passage_retrieval_en", "aa767ba233508edd", "a6059944b8b52f6d"}}) {
    std::string all;
    for (const LongBenchRecord& record : Read(p.set)) {
      const FilledPrompt prompt =
          FillTemplate((*FindLongBenchSet(p.set))->prompt_template, record.context, record.input);
      const bool is_first = all.empty();
      if (!is_first) all += '\n';
      all += prompt.context + prompt.question;
      if (is_first) {
        EXPECT_EQ(Sha256Hex(all).substr(0, 16), p.first) << p.set;
      }
    }
    EXPECT_EQ(Sha256Hex(all).substr(0, 16), p.all) << p.set;
  }
}

TEST_F(LongBenchFiles, TheHeadOfTheContextScoresAsPublished) {
  struct Published {
    const char* set;
    size_t n_characters;
    double mean;  // times 100
  };
  for (const Published& p : {Published{"gov_report", 2000, 31.6505943497327},
                             {"hotpotqa", 200, 4.285714285714286},
                             {"2wikimqa", 200, 3.932099032718228},
                             {"narrativeqa", 200, 3.2559819213045023},
                             {"qasper", 200, 2.4978890157461584}}) {
    const auto records = Read(p.set);
    ASSERT_FALSE(records.empty());
    double sum = 0;
    for (const LongBenchRecord& record : records) {
      sum += ScorePrediction(**FindLongBenchSet(p.set), Head(record.context, p.n_characters), record.answers, {}).score;
      if (&record == &records.front() && std::string_view(p.set) == "gov_report") {
        EXPECT_NEAR(sum, 0.21411191740825603, 1e-14);
      }
    }
    EXPECT_NEAR(100 * sum / static_cast<double>(records.size()), p.mean, 1e-12) << p.set;
  }
}

TEST_F(LongBenchFiles, TheFirstAnswerScoresAgainstTheLastAsPublished) {
  for (const auto& [set, mean] : {std::pair{"qasper", 60.094996619337394}, {"triviaqa", 42.44047619047619}}) {
    const auto records = Read(set);
    ASSERT_FALSE(records.empty());
    double sum = 0;
    for (const LongBenchRecord& record : records) sum += QaF1(record.answers.front(), record.answers.back());
    EXPECT_NEAR(100 * sum / static_cast<double>(records.size()), mean, 1e-12) << set;
  }
}

}  // namespace
}  // namespace arkvale::tools
