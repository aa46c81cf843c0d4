#include "tools/eval/quality_summary.h"

#include <gtest/gtest.h>

#include "tools/eval/quality_study.h"
#include "tools/eval/records.h"

namespace arkvale::tools {
namespace {

TEST(AddSums, ByNameAtEveryDepth) {
  Json sums = Json::object();
  AddSums({{"n", 2}, {"mass", 0.5}, {"at", {{"1", 3}}}}, sums);
  AddSums({{"n", 3}, {"mass", 0.25}, {"at", {{"1", 4}, {"2", 7}}}}, sums);
  EXPECT_EQ(sums.dump(), R"({"n":5,"mass":0.75,"at":{"1":7,"2":7}})");
}

TEST(AddSums, WhatIsNoNumberSpoilsTheSum) {
  Json sums = {{"mass", 0.5}, {"n", 1}};
  AddSums({{"mass", nullptr}, {"n", 1}}, sums);
  AddSums({{"mass", 0.5}, {"n", 1}}, sums);
  EXPECT_EQ(sums.dump(), R"({"mass":null,"n":3})");
  EXPECT_TRUE(MeanOfSum(sums["mass"], sums["n"]).is_null());
}

TEST(MeanOfSum, OfNothingIsNull) {
  EXPECT_EQ(MeanOfSum(3, 2), 1.5);
  EXPECT_TRUE(MeanOfSum(0, 0).is_null());
}

Json Measures(const Json& sums) { return {{"mean", MeanOfSum(sums["sum"], sums["n"])}}; }

Json Line(const KvOptions& cell, int layer, int sum, int n) {
  Json line = CellFields({}, cell);
  line.update({{"record_id", "text/" + std::to_string(n)}, {"layer", layer}});
  SetSums({{"sum", sum}, {"n", n}}, Measures, line);
  return line;
}

TEST(SumsSummary, WeighsRecordsByTheirCounts) {
  KvOptions cell, other;
  cell.digest = DigestKind::kCuboidMean;
  other.digest = DigestKind::kCode2;
  const auto summary = MakeSumsSummary({"layer"}, Measures);
  const Json first[] = {Line(cell, 2, 10, 1), Line(cell, 3, 8, 1), Line(other, 2, 6, 1)};
  const Json second[] = {Line(cell, 2, 2, 3), Line(cell, 3, 4, 3), Line(other, 2, 6, 3)};
  summary->Add(first);
  EXPECT_EQ(summary->Rows()[0]["mean"], first[0]["mean"]) << "one record is all records";
  summary->Add(second);
  const std::vector<Json> rows = summary->Rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["mean"], 3) << "not 5.33, the mean of the means";
  EXPECT_EQ(rows[1]["mean"], 3);
  EXPECT_EQ(rows[2]["mean"], 3);
  EXPECT_EQ(rows[1]["layer"], 3);
  EXPECT_EQ(rows[2]["digest"], "code2");
  EXPECT_FALSE(rows[0].contains("record_id"));
  EXPECT_FALSE(rows[0].contains("sums"));
}

// Two steps with 2 pages, one with 3; of the truly best 1, 2 and 3 so many were found.
Json RecallLine(int steps_of_two, int steps_of_three, int found1, int found2, int found3) {
  Json line = CellFields({}, {});
  line["page_set"] = "all";
  line["sums"] = {{"7",
                   {{"samples_by_pages", {{"2", steps_of_two}, {"3", steps_of_three}}},
                    {"found_at", {{"1", found1}, {"2", found2}, {"3", found3}}},
                    {"mass_samples", 0},
                    {"mass", 0.0},
                    {"mass_oracle", 0.0}}}};
  return line;
}

TEST(RecallSummary, CountsASampleAtEveryKUpToItsPages) {
  const auto summary = MakeRecallSummary();
  const Json lines[] = {RecallLine(2, 1, 3, 4, 2), RecallLine(0, 1, 0, 2, 3)};
  summary->Add(lines);
  const std::vector<Json> rows = summary->Rows();
  ASSERT_EQ(rows.size(), 1u);
  const Json& row = rows[0];
  EXPECT_EQ(row["recall_at"]["1"], 3.0 / 4);
  EXPECT_EQ(row["recall_at"]["2"], 6.0 / (2 * 4));
  EXPECT_EQ(row["recall_at"]["3"], 5.0 / (3 * 2));
  EXPECT_DOUBLE_EQ(row["chance"]["1"].get<double>(), (1.0 / 2 + 1.0 / 2 + 1.0 / 3 + 1.0 / 3) / 4);
  EXPECT_EQ(row["chance"]["3"], 1);
  EXPECT_TRUE(row["mass_recall"].is_null());
  EXPECT_EQ(row["layers"][0]["layer"], 7);
  EXPECT_EQ(row["layers"][0]["recall_at"], row["recall_at"]);
}

Json RankLine(const char* id, int page, int step, int rank) {
  return {{"record_id", id}, {"page_tokens", 32}, {"topk_pages", nullptr},
          {"layer", 9},      {"step", step},      {"page", page},
          {"rank", rank},    {"mass", 0.5},       {"dynamics", {{"topk_pages", 4}, {"churn", 0.25}}}};
}

TEST(DynamicsSummary, ARowForEachRecordFollowsItsPages) {
  const auto summary = MakeDynamicsSummary();
  const Json first[] = {RankLine("a", 0, 0, 5), RankLine("a", 0, 1, 2), RankLine("a", 0, 2, 11), RankLine("a", 0, 3, 7),
                        RankLine("a", 6, 0, 1)};
  const Json second[] = {RankLine("a", 0, 0, 3)};  // a text of the same name
  summary->Add(first);
  summary->Add(second);
  const std::vector<Json> rows = summary->Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].dump(), R"({"record_id":"a","page_tokens":32,"topk_pages":4,"layer":9,"churn":0.25,"pages":[)"
                            R"({"page":0,"rank_first":5,"rank_min":2,"rank_max":11,"rank_last":7},)"
                            R"({"page":6,"rank_first":1,"rank_min":1,"rank_max":1,"rank_last":1}]})");
  EXPECT_EQ(rows[1]["pages"].size(), 1u);
}

}  // namespace
}  // namespace arkvale::tools
