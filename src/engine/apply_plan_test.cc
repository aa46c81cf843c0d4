// Plans applied by a runtime: what they set, and which models, texts and options refuse them.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/runtime.h"
#include "engine/session.h"
#include "model/gguf_test_util.h"
#include "plan/plan_file.h"

namespace arkvale {
namespace {

class ApplyPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    const std::string path = ::testing::TempDir() + "apply_plan_" + test + ".gguf";
    testing::TinyModel("llama").Write(path);
    auto runtime = Runtime::Load({.model_path = path, .threads = 1});
    ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
    runtime_ = std::move(*runtime);
  }

  // Layer 0 keeps everything.
  KvPlan Plan() const {
    return {.kind = PlanKind::kArkvale,
            .model_fingerprint = runtime_->fingerprint(),
            .model_name = "tiny llama",
            .page_tokens = 8,
            .layers = {std::nullopt, LayerPlan{.budget_tokens = 48, .topk_pages = 3}, LayerPlan{.budget_tokens = 40}}};
  }

  static std::string Text(const KvPlan& plan) {
    const auto text = FormatPlan(plan);
    EXPECT_TRUE(text.ok()) << text.status().ToString();
    return *text;
  }

  // Applying it fails and changes nothing.
  Status Refusal(const std::string& text, KvOptions options = {}) const {
    const KvOptions before = options;
    const Status status = runtime_->ApplyPlan(text, options);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(options, before);
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    return status;
  }

  std::unique_ptr<Runtime> runtime_;
};

TEST_F(ApplyPlanTest, SetsThePolicyItsPagesAndEveryLayer) {
  KvOptions options{.policy = KvPolicyKind::kH2o, .budget_tokens = 512, .digest = DigestKind::kCode1};
  ASSERT_TRUE(runtime_->ApplyPlan(Text(Plan()), options).ok());
  KvOptions expected{.budget_tokens = 0, .page_tokens = 8, .digest = DigestKind::kCode1, .dense_layers = 1};
  expected.layer_budget_tokens = {0, 48, 40};
  expected.layer_topk_pages = {0, 3, 0};
  EXPECT_EQ(options, expected);
}

TEST_F(ApplyPlanTest, ASequenceHoldsWhatThePlanGives) {
  KvOptions options;
  ASSERT_TRUE(runtime_->ApplyPlan(Text(Plan()), options).ok());
  auto session = Session::Make(*runtime_, options);
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  ASSERT_TRUE(session->Prefill(std::vector<int32_t>(200, 7), false).ok());
  for (int32_t i = 0; i < 4; ++i) ASSERT_TRUE(session->Step(5).ok());
  const auto stats = session->stats();
  ASSERT_TRUE(stats.ok());
  // 200 + 4 tokens are 26 pages; layers 1 and 2 hold 6 and 5 of them, with the last one half full.
  EXPECT_NEAR(stats->hot_tokens_per_layer(), (204 + 48 + 40) / 3.0, 8.0 * 2 / 3);
}

TEST_F(ApplyPlanTest, XkvSetsItsWindow) {
  KvPlan plan = Plan();
  plan.kind = PlanKind::kXkv;
  plan.page_tokens = 1;
  plan.window_tokens = 4;
  plan.layers = {LayerPlan{.budget_tokens = 5}, LayerPlan{.budget_tokens = 33}, std::nullopt};
  KvOptions options{.dense_layers = 2};
  ASSERT_TRUE(runtime_->ApplyPlan(Text(plan), options).ok());
  EXPECT_EQ(options.policy, KvPolicyKind::kXkv);
  EXPECT_EQ(options.snap_window, 4);
  EXPECT_EQ(options.dense_layers, 0);
  EXPECT_EQ(options.page_tokens, KvOptions().page_tokens) << "a plan of tokens says nothing of pages";
  EXPECT_EQ(options.layer_budget_tokens, (std::vector<int64_t>{5, 33, 0}));
}

TEST_F(ApplyPlanTest, APlanOfAnotherModelIsABadFile) {
  KvPlan plan = Plan();
  plan.model_fingerprint = "00112233";
  plan.model_name = "some other model";
  const Status status = Refusal(Text(plan));
  EXPECT_EQ(status.kind(), StatusKind::kCorrupt);
  for (const std::string& part :
       {std::string("some other model"), std::string("00112233"), std::string("tiny llama"), runtime_->fingerprint()}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << part << ": " << status.message();
  }
  plan = Plan();
  plan.layers.pop_back();
  EXPECT_EQ(Refusal(Text(plan)).kind(), StatusKind::kCorrupt) << "two layers for a model of three";
}

TEST_F(ApplyPlanTest, BrokenTextsAreBadFiles) {
  const std::string text = Text(Plan());
  for (const std::string& broken : {text.substr(0, text.size() / 2), std::string(), std::string("GGUF")}) {
    EXPECT_EQ(Refusal(broken).kind(), StatusKind::kCorrupt);
  }
}

TEST_F(ApplyPlanTest, OptionsThatLeaveNoRoomAreRefused) {
  const Status status = Refusal(Text(Plan()), {.sink_pages = 4});  // 4 + 2 + 1 pages of 8 > 48 tokens
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find("layer 1"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace arkvale
