#include "tools/eval/fidelity_versus.h"

#include <gtest/gtest.h>

#include "tools/eval/statistics.h"

namespace arkvale::tools {
namespace {

CellTotals Totals(KvPolicyKind policy, int64_t budget = 256, int32_t page = 32, int64_t context = 2048) {
  KvOptions options;
  options.policy = policy;
  options.budget_tokens = budget;
  options.page_tokens = page;
  return {options, context};
}

// A segment of window `w` whose steps have these KLs; none: it ended with an error.
void Add(CellTotals& totals, int64_t w, const std::vector<double>& kl, int64_t copy_start = -1) {
  SegmentRun run;
  run.segment = {.text = "a",
                 .text_sha256_prefix = "0",
                 .window = w,
                 .context_tokens = totals.context_tokens,
                 .copy_start = copy_start};
  if (kl.empty()) run.error = "NaN";
  for (const double value : kl) {
    run.steps.push_back({.kl = value, .nll = 0, .nll_dense = 0, .dp = 0, .same_top = true, .clear = false});
  }
  totals.Add(run);
}

TEST(FidelityVersus, DifferencesAreThoseOfTheSameWindows) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kArkvale), Totals(KvPolicyKind::kStreaming)};
  Add(cells[0], 0, {0.1, 0.3});  // 0.2
  Add(cells[0], 1, {0.5, 0.5});  // 0.5
  Add(cells[0], 2, {0.2, 0.6});  // 0.4
  Add(cells[1], 2, {0.7, 1.1});  // 0.9, in another order
  Add(cells[1], 1, {0.3, 0.5});  // 0.4
  Add(cells[1], 0, {0.4, 0.6});  // 0.5
  const Json rows = VersusRows(cells);
  ASSERT_EQ(rows.size(), 1u);
  const Json& row = rows[0];
  EXPECT_EQ(row["versus"], "streaming");
  EXPECT_EQ(row["context_tokens"], 2048);
  EXPECT_EQ(row["budget_tokens"], 256);
  EXPECT_EQ(row["page_tokens"], 32);
  EXPECT_EQ(row["windows"], 3);
  EXPECT_EQ(row["left_out"], 0);
  // -0.3, 0.1 and -0.5
  EXPECT_NEAR(row["kl_diff"].get<double>(), -0.7 / 3, 1e-12);
  const Interval interval = BootstrapMean(std::vector<double>{0.2 - 0.5, 0.5 - 0.4, 0.4 - 0.9});
  EXPECT_NEAR(row["kl_diff_lo"].get<double>(), interval.lo, 1e-12);
  EXPECT_NEAR(row["kl_diff_hi"].get<double>(), interval.hi, 1e-12);
  EXPECT_NEAR(interval.lo, -0.5, 1e-12);
  EXPECT_NEAR(interval.hi, 0.1, 1e-12);
  EXPECT_EQ(row["kl_copy_diff"], nullptr) << "nothing was copied";
  EXPECT_EQ(row["left_out_copy"], 0);
}

TEST(FidelityVersus, AWindowWithAnErrorUnderEitherIsLeftOutAndCounted) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kArkvale), Totals(KvPolicyKind::kH2o)};
  for (const int64_t w : {0, 1, 2}) {
    Add(cells[0], w, w == 1 ? std::vector<double>{} : std::vector<double>{1});
    Add(cells[1], w, w == 2 ? std::vector<double>{} : std::vector<double>{3});
    // The copies of window 2 have half of ours only.
    Add(cells[0], w, {2, 2}, 512);
    Add(cells[0], w, w == 2 ? std::vector<double>{} : std::vector<double>{5, 6}, 1024);
    Add(cells[1], w, {4, 4}, 512);
    Add(cells[1], w, {w == 0 ? 8.0 : 12.0, 8}, 1024);
  }
  const Json row = VersusRows(cells)[0];
  EXPECT_EQ(row["windows"], 1);
  EXPECT_EQ(row["left_out"], 2);
  EXPECT_DOUBLE_EQ(row["kl_diff"].get<double>(), -2);
  EXPECT_DOUBLE_EQ(row["kl_diff_lo"].get<double>(), -2);
  EXPECT_DOUBLE_EQ(row["kl_diff_hi"].get<double>(), -2);
  EXPECT_EQ(row["windows_copy"], 2);
  EXPECT_EQ(row["left_out_copy"], 1);
  // (2 + 2 + 5 + 6) / 4 less (4 + 4 + 8 + 8) / 4, and less (4 + 4 + 12 + 8) / 4
  EXPECT_DOUBLE_EQ(row["kl_copy_diff"].get<double>(), (3.75 - 6 + 3.75 - 7) / 2);
  EXPECT_DOUBLE_EQ(row["kl_copy_diff_lo"].get<double>(), 3.75 - 7);
  EXPECT_DOUBLE_EQ(row["kl_copy_diff_hi"].get<double>(), 3.75 - 6);
}

TEST(FidelityVersus, WhereEveryWindowIsLeftOutThereIsNoDifference) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kArkvale), Totals(KvPolicyKind::kTova)};
  Add(cells[0], 0, {});
  Add(cells[1], 0, {1});
  const Json row = VersusRows(cells)[0];
  EXPECT_EQ(row["kl_diff"], nullptr);
  EXPECT_EQ(row["kl_diff_lo"], nullptr);
  EXPECT_EQ(row["left_out"], 1);
}

TEST(FidelityVersus, RivalsHaveTheSameBudgetAndPage) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kFull),
                                   Totals(KvPolicyKind::kArkvale, 256, 32),
                                   Totals(KvPolicyKind::kArkvale, 256, 16),
                                   Totals(KvPolicyKind::kArkvale, 512, 16),
                                   Totals(KvPolicyKind::kQuest, 256, 32),
                                   Totals(KvPolicyKind::kQuest, 512, 16),
                                   Totals(KvPolicyKind::kStreaming, 256, 32)};
  std::vector<std::vector<Json>> found;
  for (const Json& row : VersusRows(cells)) {
    found.push_back({row["budget_tokens"], row["page_tokens"], row["versus"]});
  }
  const std::vector<std::vector<Json>> wanted = {
      {256, 32, "quest"}, {256, 32, "streaming"}, {256, 16, "streaming"}, {512, 16, "quest"}};
  EXPECT_EQ(found, wanted) << "streaming has no pages: it is beside both sizes";
}

TEST(FidelityVersus, APlanIsBesideOneBudgetForAllLayers) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kXkv), Totals(KvPolicyKind::kXkv, 0),
                                   Totals(KvPolicyKind::kXkv, 0), Totals(KvPolicyKind::kSnapkv)};
  cells[1].options.layer_budget_tokens = {0, 12, 500};
  cells[1].plan = "p-0";
  cells[2].options.layer_budget_tokens = {0, 12, 504};
  cells[2].plan = "larger-1";
  for (size_t i = 0; i < cells.size(); ++i) Add(cells[i], 0, {0.25 * static_cast<double>(i + 1)});
  const Json rows = VersusRows(cells);
  ASSERT_EQ(rows.size(), 1u) << rows;
  EXPECT_EQ(rows[0]["plan"], "p-0");
  EXPECT_EQ(rows[0]["budget_tokens"], 256);
  EXPECT_EQ(rows[0]["page_tokens"], nullptr);
  EXPECT_EQ(rows[0]["versus"], "xkv");
  EXPECT_EQ(rows[0]["versus_plan"], nullptr);
  EXPECT_EQ(rows[0]["kl_diff"], 0.25);
  EXPECT_NE(VersusTable({{"versus", rows}}).find("| xkv, p-0 | 256 | - | - | xkv | 0.25 "), std::string::npos);
}

TEST(FidelityVersus, TheTableStandsWhereThereIsARow) {
  std::vector<CellTotals> cells = {Totals(KvPolicyKind::kArkvale), Totals(KvPolicyKind::kStreaming)};
  Add(cells[0], 0, {0.25});
  Add(cells[1], 0, {0.5});
  const std::string table = VersusTable({{"versus", VersusRows(cells)}});
  EXPECT_NE(table.find("| streaming | -0.25 [-0.25, -0.25] | - | 1 | 0 |"), std::string::npos) << table;
  EXPECT_EQ(VersusTable({{"versus", Json::array()}}), "");
}

}  // namespace
}  // namespace arkvale::tools
