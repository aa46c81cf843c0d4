#include "tools/eval/longbench_records.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace arkvale::tools {
namespace {

constexpr const char* kRecord =
    R"({"_id": "r1", "input": "Who?", "context": "Ada wrote it.", "answers": ["Ada", "Lady"], "length": 3, "all_classes": null})";

class LongBenchRecords : public ::testing::Test {
 protected:
  Result<std::vector<LongBenchRecord>> Read(const std::string& text, bool wants_classes = false) {
    std::ofstream(path_, std::ios::binary) << text;
    return ReadLongBench(path_, wants_classes);
  }
  // The error must name the file and this line.
  void ExpectCorrupt(const std::string& text, int line, const std::string& reason, bool wants_classes = false) {
    const auto records = Read(text, wants_classes);
    EXPECT_EQ(records.status().kind(), StatusKind::kCorrupt);
    EXPECT_EQ(records.status().message(), path_ + ":" + std::to_string(line) + ": " + reason);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::string path_ = ::testing::TempDir() + "longbench_records_" + std::to_string(getpid()) + ".jsonl";
};

TEST_F(LongBenchRecords, AreReadAsTheyStand) {
  const auto records = Read(std::string(kRecord) + "\r\n\n" + kRecord);
  ASSERT_TRUE(records.ok()) << records.status().ToString();
  ASSERT_EQ(records->size(), 2u);
  const LongBenchRecord& record = (*records)[1];
  EXPECT_EQ(record.id, "r1");
  EXPECT_EQ(record.input, "Who?");
  EXPECT_EQ(record.context, "Ada wrote it.");
  EXPECT_EQ(record.answers, (std::vector<std::string>{"Ada", "Lady"}));
  EXPECT_EQ(record.length_words, 3);
  EXPECT_TRUE(record.classes.empty());
}

TEST_F(LongBenchRecords, ABadLineIsNamed) {
  const std::string good = std::string(kRecord) + "\n";
  constexpr const char* kNoObject = "not a JSON object: one record a line is wanted";
  ExpectCorrupt(good + "{\"_id\": \"r2\"", 2, kNoObject);
  ExpectCorrupt("[]", 1, kNoObject);
  ExpectCorrupt("\xFF\n", 1, kNoObject);
  ExpectCorrupt(good + "\n{}", 3, "'_id' is missing: it must be a text");
  ExpectCorrupt(R"({"_id": "r", "input": "", "context": 3})", 1, "'context' is not a text");
  ExpectCorrupt(R"({"_id": "r", "input": "", "context": "", "answers": []})", 1,
                "'answers' is not a list of one or more texts");
  ExpectCorrupt(R"({"_id": "r", "input": "", "context": "", "answers": ["a", 1]})", 1,
                "'answers' is not a list of one or more texts");
  ExpectCorrupt(R"({"_id": "r", "input": "", "context": "", "answers": ["a"], "length": 1.5})", 1,
                "'length' is not a whole number");
}

TEST_F(LongBenchRecords, ClassesAreWantedWhereTheyCount) {
  ExpectCorrupt(kRecord, 1, "'all_classes' is not a list of one or more texts", true);
  const auto records = Read(
      R"({"_id": "r", "input": "", "context": "", "answers": ["a"], "length": 1, "all_classes": ["a", "b"]})", true);
  ASSERT_TRUE(records.ok()) << records.status().ToString();
  EXPECT_EQ(records->front().classes, (std::vector<std::string>{"a", "b"}));
}

TEST_F(LongBenchRecords, AMissingOrEmptyFileIsAnError) {
  EXPECT_EQ(ReadLongBench(path_ + ".no", false).status().kind(), StatusKind::kNotFound);
  EXPECT_EQ(ReadLongBench(::testing::TempDir(), false).status().kind(), StatusKind::kNotFound) << "a folder";
  EXPECT_EQ(Read("\n \n").status().kind(), StatusKind::kCorrupt);
}

}  // namespace
}  // namespace arkvale::tools
