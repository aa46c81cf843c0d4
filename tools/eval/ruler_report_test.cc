#include "tools/eval/ruler_report.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

const RunInfo kRun = {.task = "ruler", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};

KvOptions Of(KvPolicyKind policy) {
  KvOptions options;
  options.policy = policy;
  return options;
}

// A record whose answer holds `n_found` of two refs.
Json Record(const RulerRecordId& id, const KvOptions& options, int n_found, const std::string& error = "") {
  const RulerText text = {.context = "", .question = "", .refs = {"123", "456"}};
  const std::string pred = n_found == 0 ? " none" : n_found == 1 ? " 123." : " 456 and 123";
  Json json = RulerLabels(kRun, id, options);
  json["tokens_context"] = 900;
  json.update(RulerResult(id, text, 20, {.ids = {}, .text = pred, .error = error}));
  json["error"] = error.empty() ? Json(nullptr) : Json(error);
  json.update(StatsFields({}));
  return json;
}

TEST(RulerReport, NamesARecordByAllThatDecidesIt) {
  RulerRecordId id = {.task = FindRulerTask("MK-1"), .seed = 7, .length_tokens = 1024, .index = 3};
  id.book_sha256_prefix = "0123abcd";
  EXPECT_EQ(RulerLabels(kRun, id, {})["record_id"], "niah_multikey_1/7/1024/3/0123abcd");
  EXPECT_EQ(RulerLabels(kRun, id, {})["max_new_tokens"], 128);
  id = {.task = FindRulerTask("vt"), .length_tokens = 64};
  EXPECT_EQ(RulerLabels(kRun, id, {})["record_id"], "vt/42/64/0");
}

TEST(RulerReport, AnAnswerWithAnErrorCountsAsNothing) {
  const RulerRecordId id = {.task = FindRulerTask("S-1")};
  EXPECT_EQ(Record(id, {}, 1)["score"], 0.5);
  EXPECT_EQ(Record(id, {}, 2)["score"], 1);
  EXPECT_EQ(Record(id, {}, 2, "a logit is NaN")["score"], 0);
}

TEST(RulerReport, ScoresStandBesideTheDenseOnes) {
  const std::vector<KvOptions> cells = {Of(KvPolicyKind::kFull), Of(KvPolicyKind::kArkvale)};
  std::vector<Json> records;
  for (int64_t i = 0; i < 10; ++i) {
    const RulerRecordId vt = {.task = FindRulerTask("vt"), .length_tokens = 1024, .index = i};
    const RulerRecordId s1 = {.task = FindRulerTask("S-1"), .length_tokens = 1024, .index = i};
    records.push_back(Record(vt, cells[0], i < 4 ? 2 : 0));  // 40: too few to count
    records.push_back(Record(vt, cells[1], 1));
    records.push_back(Record(s1, cells[0], 2));
    records.push_back(Record(s1, cells[1], 1));
  }
  Json summary = RulerSummaryJson(kRun, cells, records);
  summary["left_out"] = {{{"ruler_task", "cwe"}, {"length_tokens", 1024}}};
  const Json& rows = summary["cells"];
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["ruler_task"], "niah_single_1") << "in the protocol's order";
  EXPECT_EQ(rows[0]["score"], 100);
  EXPECT_TRUE(rows[1]["counts"].get<bool>());
  EXPECT_EQ(rows[1]["score"], 50);
  EXPECT_EQ(rows[1]["score_lo"], 50);
  EXPECT_EQ(rows[1]["score_dense"], 100);
  EXPECT_EQ(rows[1]["diff"], -50);
  EXPECT_EQ(rows[1]["diff_hi"], -50) << "paired: every record differs by as much";
  EXPECT_EQ(rows[2]["score"], 40);
  EXPECT_LT(rows[2]["score_lo"], 40);
  EXPECT_EQ(rows[3]["diff"], 10);
  EXPECT_LT(rows[3]["diff_lo"], 0);
  EXPECT_FALSE(rows[3]["counts"].get<bool>());
  EXPECT_EQ(rows[3]["tokens_context"], 900);
  const std::string table = RulerTable(summary);
  EXPECT_NE(table.find("| 1024 | niah_single_1 | arkvale |"), std::string::npos) << table;
  EXPECT_NE(table.find("| 50 [50, 50] | 100 | -50 [-50, -50] |"), std::string::npos) << table;
  EXPECT_NE(table.find("vt at length 1024 says nothing"), std::string::npos) << table;
  EXPECT_NE(table.find("cwe at length 1024 is left out"), std::string::npos) << table;
  EXPECT_EQ(table.find("niah_single_1 at length"), std::string::npos) << table;
}

}  // namespace
}  // namespace arkvale::tools
