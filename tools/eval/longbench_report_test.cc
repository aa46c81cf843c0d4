#include "tools/eval/longbench_report.h"

#include <gtest/gtest.h>

#include "tools/eval/lockstep.h"

namespace arkvale::tools {
namespace {

RunInfo Info() { return {.task = "longbench", .model = "m.gguf", .model_sha256_prefix = "ab", .kv_opt = ""}; }

KvOptions Cell() {
  KvOptions options;
  options.budget_tokens = 1024;
  return options;
}

LongBenchRecord Record(const std::string& id, int64_t length_words) {
  return {.id = id,
          .input = "",
          .context = "",
          .answers = {"red", "blue sky"},
          .classes = {},
          .length_words = length_words};
}

LongBenchRecordId Id(const std::string& set, const LongBenchRecord& record, int64_t index) {
  return {.set = *FindLongBenchSet(set), .record = &record, .index = index, .max_prompt = 3500, .chat = false};
}

// A record as the runner writes it.
Json Written(const LongBenchRecordId& id, const KvOptions& options, const Answer& answer, const Json& dense) {
  Json json = LongBenchLabels(Info(), id, options);
  json.update(LongBenchResult(id, id.index == 1, answer, dense));
  json["error"] = answer.error.empty() ? Json(nullptr) : Json(answer.error);
  json["kv_hot_bytes"] = 100;
  for (const char* field : {"kv_total_bytes", "digest_bytes", "hot_tokens_per_layer_mean", "recalls_per_step_mean",
                            "audit_recall", "tokens_context", "tokens_question", "tokens_generated"}) {
    json[field] = nullptr;
  }
  return json;
}

TEST(LongBenchReport, ARecordIsNamedByAllThatDecidesIt) {
  const LongBenchRecord record = Record("x9", 3);
  LongBenchRecordId id = Id("qasper", record, 4);
  EXPECT_EQ(LongBenchLabels(Info(), id, Cell())["record_id"], "qasper/4/x9/3500/plain");
  EXPECT_EQ(LongBenchLabels(Info(), id, Cell())["max_new_tokens"], 128);
  id.chat = true;
  EXPECT_EQ(LongBenchLabels(Info(), id, Cell())["record_id"], "qasper/4/x9/3500/chat");
}

TEST(LongBenchReport, AnAnswerIsJudgedByGoldAndByTheDenseRun) {
  const LongBenchRecord record = Record("x", 3);
  const LongBenchRecordId id = Id("qasper", record, 0);
  const Json dense = Written(id, DenseOptions(), {.ids = {1, 2, 3}, .text = "green blue", .error = ""}, nullptr);
  EXPECT_EQ(dense["score"], 0.5);
  EXPECT_EQ(dense["best_answer"], 1);
  EXPECT_TRUE(dense["agree"].is_null() && dense["same_answer"].is_null() && dense["same_prefix_tokens"].is_null());

  const Json other = Written(id, Cell(), {.ids = {1, 2, 7, 8}, .text = "green", .error = ""}, dense);
  EXPECT_EQ(other["score"], 0);
  EXPECT_EQ(other["agree"], 2.0 / 3);
  EXPECT_EQ(other["same_answer"], false);
  EXPECT_EQ(other["same_prefix_tokens"], 2);
  const Json same = Written(id, Cell(), {.ids = {1, 2, 3}, .text = "green blue", .error = ""}, dense);
  EXPECT_EQ(same["agree"], 1);
  EXPECT_EQ(same["same_answer"], true);
  EXPECT_EQ(same["same_prefix_tokens"], 3);
}

TEST(LongBenchReport, AnErrorCountsAsNothing) {
  const LongBenchRecord record = Record("x", 3);
  const LongBenchRecordId id = Id("qasper", record, 0);
  const Answer failed{.ids = {}, .text = "", .error = "a logit is NaN"};
  const Json dense = Written(id, DenseOptions(), {.ids = {1}, .text = "red", .error = ""}, nullptr);
  const Json json = Written(id, Cell(), failed, dense);
  EXPECT_EQ(json["score"], 0);
  EXPECT_EQ(json["agree"], 0);
  EXPECT_TRUE(json["best_answer"].is_null());
  const Json after =
      Written(id, Cell(), {.ids = {1}, .text = "red", .error = ""}, Written(id, DenseOptions(), failed, nullptr));
  EXPECT_EQ(after["score"], 1);
  EXPECT_TRUE(after["agree"].is_null()) << "there is nothing to agree with";
}

TEST(LongBenchReport, TheSummaryHasSetsBucketsAndMeans) {
  const std::vector<KvOptions> cells = {DenseOptions(), Cell()};
  const std::vector<LongBenchRecord> inputs = {Record("a", 3999), Record("b", 4000), Record("c", 9000)};
  std::vector<Json> records;
  for (const char* set : {"triviaqa", "qasper"}) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const LongBenchRecordId id = Id(set, inputs[i], static_cast<int64_t>(i));
      records.push_back(Written(id, cells[0], {.ids = {1}, .text = i == 2 ? "no" : "red\nx", .error = ""}, nullptr));
      const Answer answer{.ids = {i == 0 ? 1 : 2}, .text = i == 0 ? "red" : "no", .error = ""};
      records.push_back(Written(id, cells[1], answer, records.back()));
    }
  }
  const Json summary = LongBenchSummaryJson(Info(), cells, records);
  ASSERT_EQ(summary["cells"].size(), 4u);
  EXPECT_EQ(summary["cells"][0]["set"], "qasper") << "in the order of LongBenchSets()";
  const Json& dense = summary["cells"][2];
  const Json& row = summary["cells"][3];
  EXPECT_EQ(row["set"], "triviaqa");
  EXPECT_EQ(row["records"], 3);
  EXPECT_NEAR(dense["score"].get<double>(), 200.0 / 3, 1e-12);
  EXPECT_NEAR(row["score"].get<double>(), 100.0 / 3, 1e-12);
  EXPECT_NEAR(row["score_dense"].get<double>(), 200.0 / 3, 1e-12);
  EXPECT_NEAR(row["diff"].get<double>(), -100.0 / 3, 1e-12);
  EXPECT_LE(row["diff_lo"].get<double>(), row["diff"].get<double>());
  EXPECT_LE(row["diff_hi"].get<double>(), 0);
  EXPECT_EQ(row["buckets"], (Json{{"0-4k", 100.0}, {"4-8k", 0.0}, {"8k+", 0.0}}));
  EXPECT_NEAR(row["agree"].get<double>(), 2.0 / 3, 1e-12);
  EXPECT_NEAR(row["same_answer"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_EQ(row["truncated"], 1);
  EXPECT_EQ(row["errors"], 0);
  EXPECT_TRUE(dense["agree"].is_null());

  ASSERT_EQ(summary["means"].size(), 2u);
  const Json& mean = summary["means"][1];
  EXPECT_EQ(mean["sets"], 2);
  EXPECT_NEAR(mean["mean_score"].get<double>(),
              (row["score"].get<double>() + summary["cells"][1]["score"].get<double>()) / 2, 1e-12);
  const std::string table = LongBenchTable(summary);
  EXPECT_NE(table.find("| triviaqa | arkvale | 1024 | 32 |"), std::string::npos) << table;
  EXPECT_NE(table.find("33.33 [0.00, 100.00] | 66.67 | -33.33 ["), std::string::npos) << table;
}

TEST(LongBenchReport, AnEmptyBucketIsNull) {
  const std::vector<KvOptions> cells = {DenseOptions()};
  const LongBenchRecord record = Record("a", 5000);
  const Json dense = Written(Id("qasper", record, 0), cells[0], {.ids = {}, .text = "red", .error = ""}, nullptr);
  const Json summary = LongBenchSummaryJson(Info(), cells, {dense});
  EXPECT_EQ(summary["cells"][0]["buckets"], (Json{{"0-4k", nullptr}, {"4-8k", 100.0}, {"8k+", nullptr}}));
}

}  // namespace
}  // namespace arkvale::tools
