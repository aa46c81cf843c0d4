#include "tools/eval/records.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/eval/cell_records.h"
#include "tools/eval/passkey_report.h"

namespace arkvale::tools {
namespace {

const RunInfo kRun = {.task = "passkey", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};

std::string Read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

KvOptions Arkvale(int64_t budget) {
  KvOptions options;
  options.budget_tokens = budget;
  return options;
}

KvOptions Full() {
  KvOptions options;
  options.policy = KvPolicyKind::kFull;
  return options;
}

// A record that was found (or not) under `options`.
Json Found(const KvOptions& options, int32_t index, bool correct) {
  PasskeyRecord record;
  record.length_tokens = 1024;
  record.index = index;
  record.key = 7;
  Json json = PasskeyLabels(kRun, record, options, 16);
  json.update(PasskeyResult(record, {.ids = {}, .text = correct ? " 7." : " 8.", .error = ""}));
  json["error"] = nullptr;
  json.update(StatsFields({}));
  return json;
}

TEST(Records, ResumeKeepsWholeLinesAndFindsTheirRecords) {
  const std::string dir = ::testing::TempDir() + "records_test/run";
  std::filesystem::remove_all(dir);
  const Json first = Found(Arkvale(512), 0, true), second = Found(Arkvale(512), 1, true);
  {
    const auto log = RecordLog::Open(dir, false, true);
    ASSERT_TRUE(log.ok()) << log.status().ToString();
    EXPECT_EQ((*log)->Find(first), nullptr);
    ASSERT_TRUE((*log)->Write(first).ok());
  }
  std::ofstream(dir + "/records.jsonl", std::ios::app) << R"({"record":{"schema":"ark)";  // the run was killed
  {
    const auto log = RecordLog::Open(dir, false, true);
    ASSERT_TRUE(log.ok());
    ASSERT_NE((*log)->Find(Found(Arkvale(512), 0, false)), nullptr) << "the answer does not name a record";
    EXPECT_TRUE((*(*log)->Find(first))["correct"].get<bool>());
    EXPECT_EQ((*log)->Find(second), nullptr);
    EXPECT_EQ((*log)->Find(Found(Arkvale(1024), 0, true)), nullptr);
    ASSERT_TRUE((*log)->Write(second).ok());
  }
  EXPECT_EQ(Read(dir + "/records.jsonl"), Dump({{"record", first}}) + Dump({{"record", second}}));
  EXPECT_EQ(RecordLog::Open("/dev/null/x", false, true).status().kind(), StatusKind::kInternal);
}

TEST(Records, APlanIsPartOfACellsIdentityAndOldRecordsHaveNone) {
  const std::string dir = ::testing::TempDir() + "records_test/plans";
  std::filesystem::remove_all(dir);
  Json old = Found(Arkvale(512), 0, true);
  old.erase("plan");
  {
    const auto log = RecordLog::Open(dir, false, true);
    ASSERT_TRUE(log.ok() && (*log)->Write(old).ok());
  }
  const auto log = RecordLog::Open(dir, false, true);
  ASSERT_TRUE(log.ok());
  Json wanted = Found(Arkvale(512), 0, true);
  EXPECT_EQ(wanted["plan"], nullptr);
  const Json* earlier = (*log)->Find(wanted);
  ASSERT_NE(earlier, nullptr);
  EXPECT_EQ(SortByCell(kRun, {Arkvale(512)}, {earlier})[0].size(), 1u);
  wanted["plan"] = "p-00000000";
  EXPECT_EQ((*log)->Find(wanted), nullptr);
  // A cell of equal options that a plan made.
  RunInfo planned = kRun;
  planned.plans = {{.name = "p-00000000", .options = {Arkvale(512)}}};
  EXPECT_TRUE(SortByCell(planned, {Arkvale(512)}, {earlier})[0].empty());
}

TEST(PasskeyReport, SharesKeptAndGained) {
  const std::vector<KvOptions> cells = {Full(), Arkvale(256)};
  std::vector<Json> records;
  for (int32_t i = 0; i < 20; ++i) {
    records.push_back(Found(cells[0], i, i != 3));             // 19 of 20
    records.push_back(Found(cells[1], i, i == 3 || i >= 10));  // 11 of 20, 10 of the 19 and the one beyond
  }
  const Json summary = PasskeySummaryJson(kRun, cells, records);
  ASSERT_EQ(summary["cells"].size(), 2u);
  const Json& dense = summary["cells"][0];
  EXPECT_EQ(dense["policy"], "full");
  EXPECT_NEAR(dense["wilson_lo"].get<double>(), 0.764, 5e-4);
  EXPECT_TRUE(dense["counts"].get<bool>()) << "0.95 is enough";
  const Json& row = summary["cells"][1];
  EXPECT_DOUBLE_EQ(row["accuracy"].get<double>(), 11 / 20.0);
  EXPECT_DOUBLE_EQ(row["kept"].get<double>(), 10 / 19.0);
  EXPECT_EQ(row["gained"], 1);
  EXPECT_EQ(row["strict"], nullptr) << "no ids to compare in these records";
  EXPECT_NE(PasskeyTable(summary).find("0.55 [0.3421, 0.7418]"), std::string::npos) << PasskeyTable(summary);
}

}  // namespace
}  // namespace arkvale::tools
