#include "plan/budgets.h"

#include <gtest/gtest.h>

#include <array>

#include "kv/select.h"

namespace arkvale {
namespace {

using Units = std::vector<int64_t>;

TEST(TokenBudgets, AddTheWindow) {
  EXPECT_EQ(TokenBudgets(Units{3, 1, 0}, 8), (std::vector<LayerPlan>{{11, 0}, {9, 0}, {9, 0}}));
}

TEST(TokenUnits, LeaveTheWindowsOut) {
  EXPECT_EQ(*TokenUnits(30 * 1024 + 1, 30, 8, 1), 30 * 1016 + 1);
  EXPECT_EQ(*TokenUnits(30 * 9, 30, 8, 1), 30);
  EXPECT_EQ(TokenUnits(30 * 9 - 1, 30, 8, 1).status().message(),
            "total of 269 tokens for 30 layers: use at least 270, 9 each, for what every layer keeps and 1 token more");
  for (const int64_t bad : {INT64_MIN, int64_t{-1}, int64_t{0}}) EXPECT_FALSE(TokenUnits(bad, 30, 8, 1).ok());
  EXPECT_FALSE(TokenUnits(1024, 0, 8, 1).ok());
  EXPECT_EQ(*TokenUnits(INT64_MAX, 30, 8, 1), INT64_MAX - 240);
}

TEST(PageUnits, LeaveSinksAndWindowsOut) {
  EXPECT_EQ(*PageUnits(28 * 1024, 28, {}, 1), 28 * (32 - 4));
  EXPECT_EQ(*PageUnits(28 * 1024 + 63, 28, {}, 1), 28 * (32 - 4) + 1);
  EXPECT_EQ(*PageUnits(28 * 160, 28, {}, 1), 28);
  EXPECT_FALSE(PageUnits(28 * 160 - 1, 28, {}, 1).ok());
  EXPECT_EQ(*PageUnits(28 * 192, 28, {}, 2), 56);
  EXPECT_EQ(PageUnits(28 * 192 - 1, 28, {}, 2).status().message(),
            "total of 5375 tokens for 28 layers: use at least 5376, 192 each, for what every layer keeps and 2 pages "
            "more");
  EXPECT_FALSE(PageUnits(INT64_MIN, 28, {}, 1).ok());
}

TEST(PageBudgets, AreWhatTheCacheMakesOfThem) {
  const Units units = {1, 28, 60, 400, 0};
  const PageLayout layout;
  const auto ruled = PageBudgets(units, layout);
  KvOptions options{.budget_tokens = 0, .dense_layers = 0};
  for (size_t l = 0; l < units.size(); ++l) {
    EXPECT_EQ(ruled[l].budget_tokens, (4 + std::max<int64_t>(1, units[l])) * 32);
    EXPECT_EQ(ruled[l].topk_pages, 0);
    options.layer_budget_tokens.push_back(ruled[l].budget_tokens);
  }
  ASSERT_TRUE(options.Validate(5, 1).ok());
  for (int32_t l = 0; l < 5; ++l) {
    const auto m = static_cast<int32_t>(std::max<int64_t>(1, units[l]));
    // Without a list, the policy's rule: all places where pages are read in place, else the paper's.
    EXPECT_EQ(MakePageBudget(options, l, true).topk, m);
    EXPECT_EQ(MakePageBudget(options, l, true).pages, m + 4);
    // Layers of 5, 32, 64, 404 and 5 pages (algorithms 3.3).
    constexpr std::array kPaper = {1, 13, 29, 37, 1};
    EXPECT_EQ(MakePageBudget(options, l, false).topk, kPaper[l]);
  }
}

}  // namespace
}  // namespace arkvale
