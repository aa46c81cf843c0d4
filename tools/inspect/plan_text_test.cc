#include "tools/inspect/plan_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <vector>

namespace arkvale::tools {
namespace {

KvPlan Plan() {
  KvPlan plan;
  plan.kind = PlanKind::kArkvale;
  plan.model_fingerprint = "0123abcd";
  plan.model_name = "small";
  plan.page_tokens = 32;
  plan.layers = {std::nullopt, LayerPlan{.budget_tokens = 1600, .topk_pages = 0},
                 LayerPlan{.budget_tokens = 192, .topk_pages = 5}};
  plan.made_by = R"({"samples":3})";
  return plan;
}

int64_t Columns(const std::string& line) {  // of UTF-8
  return std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

TEST(PlanText, DrawsEveryLayer) {
  const std::string text = PlanText("p.json", Plan());
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    EXPECT_LE(Columns(line), 80) << line;
    lines.push_back(line);
  }
  ASSERT_EQ(lines.size(), 10u) << text;
  EXPECT_NE(lines[4].find("1792 in all, mean 896, 192 to 1600"), std::string::npos) << lines[4];
  EXPECT_EQ(lines[7], "    0         -      -");
  std::string full;
  for (int i = 0; i < 50; ++i) full += "█";
  EXPECT_EQ(lines[8], "    1      1600   auto  " + full);
  EXPECT_EQ(lines[9], "    2       192      5  ██████");  // 192 / 1600 of 50 columns
}

TEST(PlanText, ALeastBudgetHasABar) {
  KvPlan plan = Plan();
  plan.kind = PlanKind::kXkv;
  plan.page_tokens = 1;
  plan.layers = {LayerPlan{.budget_tokens = 1 << 30}, LayerPlan{.budget_tokens = 9}};
  const std::string text = PlanText("p.json", plan);
  EXPECT_NE(text.find("    1         9  ▏\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("top-k"), std::string::npos);
}

TEST(PlanText, JsonHoldsWhatTheFileHolds) {
  const Json json = PlanJson("p.json", Plan());
  EXPECT_EQ(json["kind"], "plan");
  EXPECT_EQ(json["for"], "arkvale");
  EXPECT_EQ(json["n_layers"], 3);
  EXPECT_EQ(json["n_planned_layers"], 2);
  EXPECT_EQ(json["total_tokens"], 1792);
  EXPECT_EQ(json["mean_tokens"], 896.0);
  EXPECT_EQ(json["least_tokens"], 192);
  EXPECT_EQ(json["largest_tokens"], 1600);
  EXPECT_EQ(json["layers"][0], nullptr);
  EXPECT_EQ(json["layers"][2], (Json{{"layer", 2}, {"budget_tokens", 192}, {"topk_pages", 5}}));
  EXPECT_EQ(json["made_by"]["samples"], 3);
}

}  // namespace
}  // namespace arkvale::tools
