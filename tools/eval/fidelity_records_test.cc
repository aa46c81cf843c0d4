#include "tools/eval/fidelity_records.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "tools/eval/fidelity_report.h"

namespace arkvale::tools {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

KvOptions Cell(KvPolicyKind policy, int64_t budget = 256) {
  KvOptions options;
  options.policy = policy;
  options.budget_tokens = budget;
  return options;
}

FidelityCells Cells() {
  FidelityCells cells;
  cells.run = {.task = "fidelity", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};
  cells.options = {DenseOptions(), Cell(KvPolicyKind::kArkvale)};
  cells.floor = FloorOptions(cells.options[1]);
  return cells;
}

SegmentInfo Segment(int64_t window = 0, int64_t copy_start = -1) {
  return {.text = "book.txt",
          .text_sha256_prefix = "0123abcd",
          .window = window,
          .start_token = 100 * window,
          .context_tokens = 512,
          .n_steps = 2,
          .copy_start = copy_start};
}

// Two steps; values whose decimals do not end.
CellRun Measured(double kl) {
  CellRun run;
  run.steps = {{.kl = kl / 3, .nll = 2.1 / 7, .nll_dense = 1.0 / 7, .dp = -0.1 / 3, .same_top = true, .clear = true},
               {.kl = kl / 7, .nll = 3.3 / 7, .nll_dense = 3.0 / 7, .dp = 0.2 / 3, .same_top = false, .clear = true}};
  run.step_ms = {10 / 3.0, 20 / 3.0};
  run.spent.estimate_ns = 1'000'001;
  run.spent.select_ns = 500'000;
  run.stats.full_layers = 1;
  run.stats.hot_tokens = 300;
  run.stats.hot_bytes_peak = 4096;
  run.stats.steps = 2;
  run.stats.counters.recalled = 5;
  run.stats.audit = {.samples = 3, .set_recall_sum = 2.0 / 3, .mass_recall_sum = 8.0 / 3};
  return run;
}

// As a line of the log gives it back.
Json Reread(const Json& record) { return Json::parse(Dump(record)); }

Json Record(size_t cell, const SegmentInfo& segment, const CellRun& run, const CellRun* floor = nullptr) {
  return FidelityRecord(FidelityLabels(Cells(), cell, segment), segment, run, floor);
}

TEST(FidelityRecords, AReadRecordHasEveryBit) {
  const CellRun run = Measured(1), floor = Measured(1e-7);
  const auto read = ReadFidelityRecord(Reread(Record(kDenseCell, Segment(1, 128), run, &floor)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->segment.Id(), Segment(1, 128).Id());
  ASSERT_EQ(read->steps.size(), 2u);
  for (size_t j = 0; j < 2; ++j) {
    EXPECT_EQ(read->steps[j].kl, run.steps[j].kl);
    EXPECT_EQ(read->steps[j].nll, run.steps[j].nll);
    EXPECT_EQ(read->steps[j].nll_dense, run.steps[j].nll_dense);
    EXPECT_EQ(read->steps[j].dp, run.steps[j].dp);
    EXPECT_EQ(read->steps[j].same_top, run.steps[j].same_top);
    EXPECT_EQ(read->steps[j].clear, run.steps[j].clear);
    EXPECT_EQ(read->step_ms[j], run.step_ms[j]);
    EXPECT_EQ(read->kl_floor[j], floor.steps[j].kl);
  }
  EXPECT_EQ(read->wall_ms, run.step_ms[0] + run.step_ms[1]);
  EXPECT_DOUBLE_EQ(read->estimate_select_ms, 1.500001);
  EXPECT_EQ(read->kv_hot_bytes, 4096);
  EXPECT_EQ(read->hot_tokens_per_layer, 300);
  EXPECT_EQ(read->recalls_per_step, 2.5);
  EXPECT_EQ(read->audit.samples, 3);
  EXPECT_EQ(read->audit.set_recall_sum, 2.0 / 3);
  EXPECT_EQ(read->audit.mass_recall_sum, 8.0 / 3);
}

// The model may exclude a token; JSON knows no infinity.
TEST(FidelityRecords, AnInfiniteNllComesBack) {
  CellRun run = Measured(1);
  run.steps[1].nll = run.steps[1].nll_dense = kInfinity;
  const auto read = ReadFidelityRecord(Reread(Record(1, Segment(), run)));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->steps[1].nll, kInfinity);
  EXPECT_EQ(read->steps[1].nll_dense, kInfinity);
}

TEST(FidelityRecords, AnErrorHasNoStepsAndCounts) {
  CellRun run = Measured(1);
  run.error = "logits hold NaN";
  run.steps.clear();
  const Json record = Reread(Record(1, Segment(), run));
  EXPECT_EQ(record["steps"], nullptr);
  EXPECT_EQ(record["kl_mean"], nullptr);
  EXPECT_EQ(StepLines(record), "");
  const auto read = ReadFidelityRecord(record);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->error, "logits hold NaN");
  CellRun floor = Measured(1);
  floor.error = "no floor";
  floor.steps.clear();
  const auto dense = ReadFidelityRecord(Reread(Record(kDenseCell, Segment(), Measured(0), &floor)));
  ASSERT_TRUE(dense.ok()) << dense.status().ToString();
  EXPECT_EQ(dense->floor_error, "no floor");
  EXPECT_TRUE(dense->kl_floor.empty());
  EXPECT_EQ(dense->error, "");
}

TEST(FidelityRecords, WhatIsNoRecordIsRefused) {
  const CellRun floor = Measured(1e-7);
  const Json good = Record(kDenseCell, Segment(), Measured(1), &floor);
  ASSERT_TRUE(ReadFidelityRecord(good).ok());
  for (const char* field : {"text", "text_sha256_prefix", "window", "start_token", "tokens_context", "copy_start",
                            "error", "floor_error", "wall_ms", "estimate_select_ms", "kv_hot_bytes", "audit_samples",
                            "audit_recall_sum", "prefill_kl_nats", "steps"}) {
    Json bad = good;
    bad.erase(field);
    EXPECT_EQ(ReadFidelityRecord(bad).status().kind(), StatusKind::kInvalidArgument) << field;
    bad[field] = Json::array({"x"});
    EXPECT_EQ(ReadFidelityRecord(bad).status().kind(), StatusKind::kInvalidArgument) << field;
  }
  for (const char* column : {"kl", "nll", "nll_dense", "dp", "same_top", "clear", "step_ms", "kl_floor"}) {
    for (const bool longer : {false, true}) {
      Json bad = good;
      Json& values = bad["steps"][column];
      if (longer) {
        values.push_back(values[0]);
      } else {
        values.erase(1);
      }
      EXPECT_EQ(ReadFidelityRecord(bad).status().kind(), StatusKind::kInvalidArgument) << column;
    }
    Json bad = good;
    bad["steps"][column][1] = "x";
    EXPECT_EQ(ReadFidelityRecord(bad).status().kind(), StatusKind::kInvalidArgument) << column;
  }
}

TEST(FidelityRecords, StepLinesSayWhatTheRecordHolds) {
  const Json record = Reread(Record(1, Segment(), Measured(1)));
  const std::string lines = StepLines(record);
  const Json second = Json::parse(lines.substr(lines.find('\n') + 1));
  EXPECT_EQ(second["record_id"], Segment().Id());
  EXPECT_EQ(second["policy"], "arkvale");
  EXPECT_EQ(second["step"], 1);
  EXPECT_EQ(second["kl"], 1.0 / 7);
  EXPECT_EQ(second["same_top"], false);
  EXPECT_EQ(second["step_ms"], 20 / 3.0);
}

// Records of a run: a prose window and one copy of it, under dense attention and arkvale.
std::vector<std::pair<size_t, Json>> SmallRun() {
  const CellRun floor = Measured(1e-7), copy_floor = Measured(2e-7);
  return {{0, Record(kDenseCell, Segment(), Measured(0), &floor)},
          {1, Record(1, Segment(), Measured(0.5))},
          {0, Record(kDenseCell, Segment(0, 128), Measured(0), &copy_floor)},
          {1, Record(1, Segment(0, 128), Measured(3))}};
}

Json Summary(const std::vector<std::pair<size_t, Json>>& records) {
  const FidelityCells cells = Cells();
  std::vector<std::vector<CellTotals>> totals(1);
  for (const KvOptions& options : cells.options) totals[0].emplace_back(options, 512);
  for (const auto& [cell, record] : records) {
    const auto run = ReadFidelityRecord(record);
    EXPECT_TRUE(run.ok()) << run.status().ToString();
    if (run.ok()) totals[0][cell].Add(*run);
  }
  return FidelitySummaryJson(cells, totals);
}

TEST(FidelitySummaryOfRecords, IsTheSameOfWrittenAndOfReadOnes) {
  auto records = SmallRun();
  const Json summary = Summary(records);
  for (auto& [cell, record] : records) record = Reread(record);
  EXPECT_EQ(Dump(Summary(records)), Dump(summary));
  ASSERT_EQ(summary["cells"].size(), 2u);
  const Json& row = summary["cells"][1];
  EXPECT_DOUBLE_EQ(row["kl_mean"].get<double>(), (0.5 / 3 + 0.5 / 7) / 2);
  EXPECT_DOUBLE_EQ(row["kl_copy"].get<double>(), (3.0 / 3 + 3.0 / 7) / 2);
  EXPECT_DOUBLE_EQ(row["kl_floor"].get<double>(), (1e-7 / 3 + 1e-7 / 7) / 2);
  EXPECT_DOUBLE_EQ(row["kl_copy_floor"].get<double>(), (2e-7 / 3 + 2e-7 / 7) / 2);
  EXPECT_EQ(summary["kl_floor"], row["kl_floor"]);
  EXPECT_DOUBLE_EQ(row["audit_recall"].get<double>(), 2.0 / 9);
  EXPECT_EQ(row["copy_starts"][0]["copy_start"], 128);
  EXPECT_DOUBLE_EQ(row["step_ms_median"].get<double>(), 5);
  EXPECT_NEAR(row["estimate_select_share"].get<double>(), 1.500001 / 10, 1e-12);
  EXPECT_EQ(row["kv_hot_bytes"], 4096);
  EXPECT_EQ(summary["versus"].size(), 0u);
}

TEST(FidelitySummaryOfRecords, WhereAllFailedThereIsNoMean) {
  CellRun failed = Measured(1), no_floor = Measured(1);
  failed.error = no_floor.error = "NaN";
  failed.steps.clear();
  no_floor.steps.clear();
  const Json summary =
      Summary({{0, Record(kDenseCell, Segment(), Measured(0), &no_floor)}, {1, Record(1, Segment(), failed)}});
  const Json& row = summary["cells"][1];
  EXPECT_EQ(row["kl_mean"], nullptr);
  EXPECT_FALSE(row["at_floor"].get<bool>());
  EXPECT_EQ(row["errors"], 1);
  EXPECT_EQ(row["windows"], 0);
  EXPECT_EQ(summary["floor_errors"], 1);
  const std::string table = FidelityTable(summary);
  EXPECT_NE(table.find("1 windows of arkvale 256"), std::string::npos) << table;
  EXPECT_EQ(table.find("<= floor"), std::string::npos) << table;
}

class FidelityLog : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<RecordLog> Open() { return std::move(*RecordLog::Open(dir_, false, true)); }
  const Json* Find(const RecordLog& log, size_t cell, const SegmentInfo& segment) {
    return FindFidelityRecord(log, FidelityLabels(cells_, cell, segment), segment);
  }

  const std::string dir_ = ::testing::TempDir() + "fidelity_records_" + std::to_string(getpid());
  FidelityCells cells_ = Cells();
};

TEST_F(FidelityLog, FindsOnlyTheSameWork) {
  const CellRun floor = Measured(1e-7);
  ASSERT_TRUE(Open()->Write(Record(kDenseCell, Segment(), Measured(0), &floor)).ok());
  ASSERT_TRUE(Open()->Write(Record(1, Segment(), Measured(1))).ok());
  const auto log = Open();
  ASSERT_NE(Find(*log, kDenseCell, Segment()), nullptr);
  ASSERT_NE(Find(*log, 1, Segment()), nullptr);
  EXPECT_EQ((*Find(*log, 1, Segment()))["steps"]["kl"][0], 1.0 / 3);
  std::vector<SegmentInfo> others(5, Segment());
  others[0].n_steps = 3;
  others[1].start_token = 7;
  others[2].copy_start = 128;
  others[3].text_sha256_prefix = "ffffffff";
  others[4].context_tokens = 513;
  for (const SegmentInfo& other : others) {
    EXPECT_EQ(Find(*log, kDenseCell, other), nullptr) << other.Id();
    EXPECT_EQ(Find(*log, 1, other), nullptr) << other.Id();
  }
  cells_.run.rope = "linear 2";
  EXPECT_EQ(Find(*log, 1, Segment()), nullptr) << "the model's positions are others";
  cells_.run.rope.clear();
  EXPECT_NE(Find(*log, 1, Segment()), nullptr);
  cells_.floor.page_tokens = 64;
  EXPECT_EQ(Find(*log, kDenseCell, Segment()), nullptr) << "it has another floor";
  EXPECT_NE(Find(*log, 1, Segment()), nullptr);
}

TEST_F(FidelityLog, ALogOfAnotherFormIsNotUsed) {
  const CellRun floor = Measured(1e-7);
  const Json record = Record(kDenseCell, Segment(), Measured(0), &floor);
  Json old = record, shorter = record;
  for (const char* field : {"steps", "floor_error", "audit_samples"}) old.erase(field);
  for (auto& [name, column] : shorter["steps"].items()) column.erase(1);
  for (const Json& bad : {old, shorter}) {
    ASSERT_TRUE(Open()->Write(bad).ok());
    EXPECT_EQ(Find(*Open(), kDenseCell, Segment()), nullptr);
  }
  ASSERT_TRUE(Open()->Write(record).ok());
  EXPECT_NE(Find(*Open(), kDenseCell, Segment()), nullptr) << "the last one counts";
}

TEST_F(FidelityLog, AFailedRecordIsNotRunAgain) {
  CellRun failed = Measured(1);
  failed.error = "NaN";
  failed.steps.clear();
  ASSERT_TRUE(Open()->Write(Record(1, Segment(), failed)).ok());
  EXPECT_NE(Find(*Open(), 1, Segment()), nullptr);
}

}  // namespace
}  // namespace arkvale::tools
