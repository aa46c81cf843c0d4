#include "tools/eval/quality_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace arkvale::tools {
namespace {

class EarlierRecordsTest : public testing::Test {
 protected:
  EarlierRecordsTest() : dir_(testing::TempDir() + "quality_log_" + std::to_string(getpid())) {
    std::filesystem::create_directories(dir_);
  }
  ~EarlierRecordsTest() override { std::filesystem::remove_all(dir_); }

  void Write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  std::string Read() const {
    std::ifstream file(path_, std::ios::binary);
    std::stringstream stream;
    stream << file.rdbuf();
    return stream.str();
  }
  EarlierRecords Load() const {
    auto earlier = EarlierRecords::Load(dir_, works_);
    EXPECT_TRUE(earlier.ok()) << earlier.status().ToString();
    return std::move(*earlier);
  }

  const std::string dir_, path_ = dir_ + "/records.jsonl";
  const std::vector<std::string> works_ = {"a", "b"};
};

std::string Text(const Json& record) { return Dump({{"record", record}}); }

// Lines of a record as a run writes them.
std::vector<std::string> Lines(const std::string& work, int n) {
  std::vector<Json> lines;
  for (int i = 0; i < n; ++i) lines.push_back({{"task", "recall"}, {"value", i * 0.1}});
  MarkLines(work, lines);
  std::vector<std::string> texts;
  for (const Json& line : lines) texts.push_back(Text(line));
  return texts;
}

std::string Join(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

TEST_F(EarlierRecordsTest, WholeRecordsStay) {
  const std::string text = Join(Lines("a", 3)) + Join(Lines("b", 1));
  Write(text);
  const EarlierRecords earlier = Load();
  EXPECT_EQ(Read(), text);
  std::string again;
  for (const Json& line : earlier.Lines("a")) again += Text(line);
  for (const Json& line : earlier.Lines("b")) again += Text(line);
  EXPECT_EQ(again, text);
}

TEST_F(EarlierRecordsTest, APartOfARecordGoesWhereverItIsCut) {
  const std::vector<std::string> b = Lines("b", 3);
  const std::string whole = Join(Lines("a", 2));
  for (size_t cut = 0; cut < Join(b).size(); ++cut) {
    Write(whole + Join(b).substr(0, cut));
    const EarlierRecords earlier = Load();
    EXPECT_EQ(Read(), whole) << "cut after " << cut << " bytes";
    EXPECT_EQ(earlier.Lines("a").size(), 2u);
    EXPECT_TRUE(earlier.Lines("b").empty());
  }
}

TEST_F(EarlierRecordsTest, WhatIsNotOfThisRunGoes) {
  const std::string mine = Join(Lines("a", 2));
  const std::string others[] = {Join(Lines("c", 2)),
                                Text({{"task", "recall"}, {"record_id", "old"}, {"recall_at", {{"1", 0.5}}}}),
                                Text({{"work_sha256_prefix", "a"}, {"line", 2}, {"lines", 3}}),
                                Text({{"work_sha256_prefix", "b"}, {"line", 0}, {"lines", 0}}),
                                Text({{"work_sha256_prefix", "b"}, {"line", -1}, {"lines", 1}}),
                                Text({{"work_sha256_prefix", "b"}, {"line", 0}}),
                                Text({{"work_sha256_prefix", 7}, {"line", 0}, {"lines", 1}}),
                                Lines("a", 2)[1],
                                "{\"record\":\n",
                                "[1]\n",
                                "{\"record\":[]}\n",
                                "{\"summary\":{}}\n",
                                "\n"};
  for (const std::string& other : others) {
    Write(mine + other);
    const EarlierRecords earlier = Load();
    EXPECT_EQ(Read(), mine) << other;
    EXPECT_EQ(earlier.Lines("a").size(), 2u);
    EXPECT_TRUE(earlier.Lines("b").empty()) << other;
  }
}

TEST_F(EarlierRecordsTest, LinesComeInTheirOrder) {
  const std::vector<std::string> a = Lines("a", 2), b = Lines("b", 2);
  Write(b[1] + a[0] + a[1] + b[0]);
  const EarlierRecords earlier = Load();
  ASSERT_EQ(earlier.Lines("b").size(), 2u);
  EXPECT_EQ(earlier.Lines("b")[0]["line"], 0);
  EXPECT_EQ(earlier.Lines("b")[1]["line"], 1);
}

TEST_F(EarlierRecordsTest, NothingThereIsNothingEarlier) {
  EXPECT_TRUE(Load().Lines("a").empty());
  EXPECT_FALSE(std::filesystem::exists(path_));
  const auto no_folder = EarlierRecords::Load("", works_);
  ASSERT_TRUE(no_folder.ok());
  EXPECT_TRUE(no_folder->Lines("a").empty());
}

TEST_F(EarlierRecordsTest, AFileThatCannotBeReplacedStaysAsItWas) {
  const std::string text = Join(Lines("a", 2)) + "{\"rec";
  Write(text);
  std::filesystem::create_directories(path_ + ".next");
  const auto earlier = EarlierRecords::Load(dir_, works_);
  EXPECT_EQ(earlier.status().kind(), StatusKind::kInternal);
  EXPECT_EQ(Read(), text);
}

TEST(WorkId, TellsApartWhatIsRunAndWhatIsFed) {
  const Json setup = {{"steps", 8}};
  const QualityInput input{.id = "text/0", .context = {1, 2, 3}, .fed = {4}};
  const std::string work = WorkId(setup, input);
  EXPECT_EQ(work.size(), 16u);
  EXPECT_EQ(WorkId(setup, input), work);
  EXPECT_NE(WorkId({{"steps", 9}}, input), work);
  for (const QualityInput& other : {QualityInput{.id = "text/1", .context = {1, 2, 3}, .fed = {4}},
                                    QualityInput{.id = "text/0", .context = {1, 2, 5}, .fed = {4}},
                                    QualityInput{.id = "text/0", .context = {1, 2}, .fed = {3, 4}},
                                    QualityInput{.id = "text/0", .context = {1, 2, 3}, .fed = {4}, .answers = true}}) {
    EXPECT_NE(WorkId(setup, other), work);
  }
}

}  // namespace
}  // namespace arkvale::tools
