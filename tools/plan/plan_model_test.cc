// `arkvale plan` on real models and real text, from samples to a plan that runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "engine/engine_test_util.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "plan/plan_file.h"
#include "tools/common/commands.h"
#include "tools/common/exit_code.h"

namespace arkvale::tools {
namespace {

constexpr const char* kSmolLm2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
constexpr const char* kGemma = "gemma-3-270m-q4_k_m.gguf";

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string TempPath(const std::string& suffix) {
  return ::testing::TempDir() + "arkvale_plan_" + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
         suffix;
}

int Plan(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"plan", "--threads", "2", "--quiet", "--text",
                                       std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt"});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return RunPlan(static_cast<int>(argv.size()), argv.data());
}

std::unique_ptr<Runtime> Load(const std::string& file) {
  auto runtime = Runtime::Load({.model_path = ModelPath(file), .threads = 2});
  EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
  return runtime.ok() ? std::move(*runtime) : nullptr;
}

// Tokens that the layers hold after a prefill of 600 under the plan.
int64_t HeldBytes(Runtime& runtime, const KvOptions& options) {
  const std::string text = Read(std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt");
  auto ids = *runtime.tokenizer().Encode(text, true, false);
  ids.resize(600);
  auto session = Session::Make(runtime, options);
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  EXPECT_TRUE(session->Prefill(ids, true).ok());
  EXPECT_TRUE(session->Step(ids[7]).ok());
  return session->stats()->total_bytes;
}

TEST(PlanModel, XkvBudgetsAddUpAndFreeMemory) {
  const std::string path = TempPath(".json");
  ASSERT_EQ(Plan({"-m", ModelPath(kSmolLm2), "--for", "xkv", "--measure", "mass", "--budget", "128", "--max-prompt",
                  "700", "--validate", "0", "-o", path}),
            kExitDone);
  const auto plan = ParsePlan(Read(path));
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  int64_t total = 0, least = INT64_MAX, most = 0;
  for (const auto& layer : plan->layers) {
    ASSERT_TRUE(layer.has_value());
    total += layer->budget_tokens;
    least = std::min(least, layer->budget_tokens);
    most = std::max(most, layer->budget_tokens);
  }
  EXPECT_EQ(total, 30 * 128);
  EXPECT_LT(2 * least, most);  // layers differ, or there is nothing to plan
  const auto runtime = Load(kSmolLm2);
  KvOptions planned;
  const Status applied = runtime->ApplyPlan(Read(path), planned);
  ASSERT_TRUE(applied.ok()) << applied.ToString();
  EXPECT_EQ(planned.policy, KvPolicyKind::kXkv);
  EXPECT_LT(HeldBytes(*runtime, planned), HeldBytes(*runtime, {.policy = KvPolicyKind::kFull}) / 2);
}

// The plan is no worse than equal budgets on the samples it was validated on, or it is equal budgets.
TEST(PlanModel, ArkvalePlansAreWholePagesAndValidated) {
  const std::string path = TempPath(".json");
  ASSERT_EQ(Plan({"-m", ModelPath(kGemma), "--for", "arkvale", "--budget", "256", "--max-prompt", "900",
                  "--sample-fraction", "0.01", "--validate", "1", "-o", path}),
            kExitDone);
  const auto plan = ParsePlan(Read(path));
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  int64_t total = 0, planned = 0;
  for (const auto& layer : plan->layers) {
    if (!layer) continue;
    ++planned;
    total += layer->budget_tokens;
    EXPECT_EQ(layer->budget_tokens % 32, 0);
  }
  EXPECT_EQ(planned, 3);  // the others slide
  EXPECT_EQ(total, 3 * 256);
  const auto smollm2 = Load(kSmolLm2);
  KvOptions options;
  EXPECT_EQ(smollm2->ApplyPlan(Read(path), options).kind(), StatusKind::kCorrupt);
  EXPECT_EQ(options, KvOptions());
}

TEST(PlanModel, RefusesWhatCannotBePlanned) {
  const std::string path = TempPath(".json"), model = ModelPath(kSmolLm2);
  EXPECT_EQ(Plan({"-m", model, "--budget", "4", "--max-prompt", "300", "-o", path}), kExitUsage);
  EXPECT_EQ(Plan({"-m", model, "--budget", "64", "--max-prompt", "8", "-o", path}), kExitInput);
  EXPECT_EQ(Plan({"-m", model, "--budget", "64", "--retention", ".7", "-o", path}), kExitUsage);
  EXPECT_EQ(Plan({"-m", model, "--retention", "1.5", "-o", path}), kExitUsage);
  EXPECT_EQ(Plan({"-m", model, "--budget", "64", "--sample-fraction", "0", "-o", path}), kExitUsage);
  EXPECT_EQ(Plan({"-m", model, "--retention", ".7", "--measure", "kl", "-o", path}), kExitUsage);
  EXPECT_EQ(Plan({"-m", model, "--budget", "64", "--for", "h2o", "-o", path}), kExitUsage);
  EXPECT_TRUE(Read(path).empty());
}

}  // namespace
}  // namespace arkvale::tools
