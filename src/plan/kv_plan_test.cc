#include "plan/kv_plan.h"

#include <gtest/gtest.h>

#include "kv/select.h"
#include "kv/token_rules.h"

namespace arkvale {
namespace {

KvPlan XkvPlan() {
  return {.kind = PlanKind::kXkv,
          .model_fingerprint = "a1b2",
          .model_name = "SmolLM2",
          .layers = {std::nullopt, LayerPlan{900}, std::nullopt, LayerPlan{9}}};
}

KvPlan ArkvalePlan() {
  return {.kind = PlanKind::kArkvale,
          .model_fingerprint = "a1b2",
          .page_tokens = 16,
          .layers = {std::nullopt, LayerPlan{800, 20}, std::nullopt, LayerPlan{160, 0}}};
}

void ExpectRefused(const Status& status, const std::string& words) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << words;
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

template <typename Change>
void ExpectInvalid(KvPlan plan, Change change, const std::string& words) {
  ASSERT_TRUE(plan.Validate().ok());
  change(plan);
  ExpectRefused(plan.Validate(), words);
}

TEST(KvPlan, ValuesInRange) {
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.model_fingerprint = ""; }, "model_fingerprint ''");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.model_fingerprint = "a\nb"; }, "model_fingerprint 'a?b'");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.model_fingerprint = std::string(257, 'a'); }, "a...': use 1 to 256");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.page_tokens = 32; }, "page_tokens 32 of a plan for xkv");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.page_tokens = 1; }, "page_tokens 1 of a plan for arkvale");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.window_tokens = 0; }, "window_tokens 0: use a number from 1 to 64");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.window_tokens = 65; }, "window_tokens 65");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.layers.clear(); }, "0 layers");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.layers.resize(4097); }, "4097 layers: use 1 to 4096");
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.layers.assign(3, {}); }, "none of 3 layers has a budget");
}

TEST(KvPlan, BudgetsInRange) {
  for (const int64_t budget : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{8}, int64_t{1} << 31, INT64_MAX}) {
    ExpectInvalid(
        XkvPlan(), [&](KvPlan& p) { p.layers[3] = LayerPlan{budget}; },
        "layer 3: budget_tokens " + std::to_string(budget) + ": use 9 to 2147483647");
  }
  ExpectInvalid(
      XkvPlan(), [](KvPlan& p) { p.layers[1]->topk_pages = 1; }, "layer 1: topk_pages 1: use 0");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.layers[1]->budget_tokens = 801; }, "use whole pages of 16 tokens");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.layers[1]->budget_tokens = 0; }, "layer 1: budget_tokens 0: use 16 to");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.layers[1]->topk_pages = 50; }, "topk_pages 50: use 1 to 49");
  ExpectInvalid(
      ArkvalePlan(), [](KvPlan& p) { p.layers[1]->topk_pages = -1; }, "topk_pages -1: use 1 to 49");
  KvPlan plan = ArkvalePlan();
  plan.layers[1]->topk_pages = 49;
  EXPECT_TRUE(plan.Validate().ok());
}

TEST(KvPlan, OfAnotherModelIsRefusedByName) {
  EXPECT_TRUE(CheckPlanFits(XkvPlan(), "a1b2", "renamed", 4).ok());
  ExpectRefused(CheckPlanFits(XkvPlan(), "c3", "Gemma 3", 4),
                "the plan is for model 'SmolLM2' (fingerprint 'a1b2'), not for 'Gemma 3' (fingerprint 'c3'): make one "
                "with arkvale plan");
  ExpectRefused(CheckPlanFits(ArkvalePlan(), "c3", "Gemma\x1b[2J", 4), "for another model (fingerprint 'a1b2'), not");
  ExpectRefused(CheckPlanFits(ArkvalePlan(), "c3", "Gemma\x1b[2J", 4), "'Gemma?[2J'");
  ExpectRefused(CheckPlanFits(XkvPlan(), "a1b2", "SmolLM2", 5), "the plan has 4 layers, model 'SmolLM2' has 5");
}

TEST(ApplyPlan, XkvSetsBudgetsOfTokens) {
  KvOptions options{.dense_layers = 3, .snap_window = 32};
  options.layer_topk_pages = {1, 2, 3, 4};
  ApplyPlan(XkvPlan(), options);
  EXPECT_EQ(options.policy, KvPolicyKind::kXkv);
  EXPECT_EQ(options.snap_window, 8);
  EXPECT_EQ(options.page_tokens, KvOptions{}.page_tokens);
  EXPECT_EQ(options.dense_layers, 1);
  ASSERT_TRUE(options.Validate(4, 2).ok()) << options.Validate(4, 2).message();
  // A layer without an entry drops nothing, also between others.
  for (const auto& [layer, budget] : {std::pair(0, 0), {1, 900}, {2, 0}, {3, 9}}) {
    EXPECT_EQ(MakeTokenRule(options, layer, 0, 1).budget, budget) << layer;
  }
}

TEST(ApplyPlan, ArkvaleSetsBudgetsOfPages) {
  KvOptions options{.policy = KvPolicyKind::kFull, .dense_layers = 4, .snap_window = 32};
  ApplyPlan(ArkvalePlan(), options);
  EXPECT_EQ(options.policy, KvPolicyKind::kArkvale);
  EXPECT_EQ(options.snap_window, 32);
  EXPECT_EQ(options.page_tokens, 16);
  ASSERT_TRUE(options.Validate(4, 2).ok()) << options.Validate(4, 2).message();
  for (const auto& [layer, pages] : {std::pair(0, 0), {1, 50}, {2, 0}, {3, 10}}) {
    EXPECT_EQ(MakePageBudget(options, layer, true).pages, pages) << layer;
  }
  EXPECT_EQ(MakePageBudget(options, 1, true).topk, 17);
  EXPECT_EQ(MakePageBudget(options, 3, true).topk, 6);
  options.window_pages = 9;
  ExpectRefused(options.Validate(4, 2), "sinks + window + 1 = 12 pages (layer 3)");
}

}  // namespace
}  // namespace arkvale
