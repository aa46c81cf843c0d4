// The eval tasks' rules on a real model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/eval/answer.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/passkey_text.h"

namespace arkvale::tools {
namespace {

std::unique_ptr<Runtime> Load(const std::string& file, KvType kv_type = KvType::kF16) {
  const char* dir = std::getenv("ARKVALE_MODELS");
  EngineOptions options;
  options.model_path = (dir != nullptr ? std::string(dir) : std::string(ARKVALE_SOURCE_DIR) + "/models") + "/" + file;
  options.threads = 2;
  options.kv_type = kv_type;
  auto runtime = Runtime::Load(options);
  EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
  return runtime.ok() ? std::move(*runtime) : nullptr;
}

std::unique_ptr<Runtime> SmolLm2() { return Load("SmolLM2-135M-Instruct.Q4_1.gguf"); }

std::vector<int32_t> NovelIds(const Runtime& runtime, size_t n_ids) {
  std::ifstream file(std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt");
  std::stringstream text;
  text << file.rdbuf();
  auto ids = *runtime.tokenizer().Encode(text.str(), true, false);
  EXPECT_GE(ids.size(), n_ids);
  ids.resize(n_ids);
  return ids;
}

KvOptions Arkvale(int64_t budget) {
  KvOptions options;
  options.budget_tokens = budget;
  return options;
}

Session Dense(Runtime& runtime, std::span<const int32_t> context) {
  Session session = *Session::Make(runtime, DenseOptions());
  EXPECT_TRUE(session.Prefill(context, true).ok());
  return session;
}

TEST(Lockstep, ABudgetForEverythingIsDenseAndASmallOneIsNot) {
  constexpr int64_t kContext = 1500, kSteps = 6;
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const auto ids = NovelIds(*runtime, kContext + kSteps + 1);
  const Session base = Dense(*runtime, std::span(ids).first(kContext));
  const std::vector<KvOptions> cells = {DenseOptions(), FloorOptions({}), Arkvale(256), Arkvale(1536)};
  int32_t n_calls = 0;
  const auto count = [&] {
    ++n_calls;
    return OkStatus();
  };
  const auto runs =
      RunLockstep({runtime.get(), &base}, {runtime.get(), &base}, std::span(ids).subspan(kContext), cells, count);
  ASSERT_TRUE(runs.ok()) << runs.status().ToString();
  EXPECT_EQ(n_calls, kSteps);
  std::vector<double> kl;
  for (const CellRun& run : *runs) {
    EXPECT_EQ(run.error, "");
    EXPECT_EQ(run.prefill_kl, 0) << "prefill is dense for all";
    ASSERT_EQ(run.steps.size(), static_cast<size_t>(kSteps));
    EXPECT_EQ(run.step_ms.size(), run.steps.size());
    kl.push_back(Summarise({&run.steps, 1}).kl_mean);
    EXPECT_EQ(run.stats.n_tokens, kContext + kSteps);
  }
  EXPECT_EQ(kl[0], 0);
  EXPECT_GT(kl[1], 0) << "the floor's partials are cut elsewhere";
  EXPECT_GT((*runs)[1].stats.evicted_pages_now, 0);
  EXPECT_EQ(kl[3], 0);
  EXPECT_EQ(Summarise({&(*runs)[3].steps, 1}).same_answer, 1);
  EXPECT_GT(kl[2], 3 * kl[1]);
  EXPECT_GT((*runs)[2].stats.counters.recalled, 0);
  EXPECT_EQ((*runs)[3].stats.counters.scored_steps, 0);
  EXPECT_EQ(base.n_tokens(), kContext) << "the base is left alone";
}

// What 8 bits cost: more than rounding, little beside a budget.
TEST(Lockstep, AnotherKvTypeIsComparedWithTheReference) {
  constexpr int64_t kContext = 1000, kSteps = 6;
  const auto reference = SmolLm2(), q8 = Load("SmolLM2-135M-Instruct.Q4_1.gguf", KvType::kQ8);
  ASSERT_TRUE(reference != nullptr && q8 != nullptr);
  const auto ids = NovelIds(*reference, kContext + kSteps + 1);
  const Session base = Dense(*reference, std::span(ids).first(kContext));
  const Session typed = Dense(*q8, std::span(ids).first(kContext));
  const std::vector<KvOptions> cells = {DenseOptions(), FloorOptions({}), DenseOptions(), Arkvale(256)};
  const auto runs = RunLockstep({reference.get(), &base}, {q8.get(), &typed}, std::span(ids).subspan(kContext), cells,
                                [] { return OkStatus(); });
  ASSERT_TRUE(runs.ok()) << runs.status().ToString();
  std::vector<double> kl;
  for (const CellRun& run : *runs) kl.push_back(Summarise({&run.steps, 1}).kl_mean);
  EXPECT_EQ(kl[0], 0);
  EXPECT_GT(kl[2], 3 * kl[1]);
  EXPECT_LT(kl[2], 0.01);
  EXPECT_GT(kl[3], kl[2]);
  EXPECT_EQ((*runs)[1].prefill_kl, 0);
  EXPECT_GT((*runs)[2].prefill_kl, 0);
  const KvStats f16 = (*runs)[0].stats, small = (*runs)[2].stats;
  EXPECT_EQ(small.full_bytes * 32, f16.full_bytes * 17) << "8.5 bits for 16";
  EXPECT_EQ(small.total_bytes * 32, f16.total_bytes * 17);
}

TEST(Lockstep, StopsWhereItIsAskedTo) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const auto ids = NovelIds(*runtime, 70);
  const Session base = Dense(*runtime, std::span(ids).first(64));
  const std::vector<KvOptions> cells = {DenseOptions()};
  const auto stop = [] { return Cancelled("interrupted"); };
  const PrefilledContext context{runtime.get(), &base};
  EXPECT_EQ(RunLockstep(context, context, std::span(ids).subspan(64), cells, stop).status().kind(),
            StatusKind::kCancelled);
}

TEST(PasskeyRecord, FillsItsLengthAndHoldsBosOnce) {
  for (const char* file : {"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"}) {
    const auto runtime = Load(file);
    ASSERT_NE(runtime, nullptr);
    const Tokenizer& tokenizer = runtime->tokenizer();
    const auto record = MakePasskeyRecord(tokenizer, 42, 1024, 7, 0);
    ASSERT_TRUE(record.ok()) << record.status().ToString();
    const size_t n_ids = record->context.size() + record->question.size() + kPasskeyAnswerTokens;
    EXPECT_LE(n_ids, 1024u);
    EXPECT_GE(n_ids, 1020u);
    EXPECT_EQ(record->depth(), 0.35);
    std::vector<int32_t> ids = record->context;
    ids.insert(ids.end(), record->question.begin(), record->question.end());
    EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.bos()), tokenizer.add_bos() ? 1 : 0) << file;
    EXPECT_EQ(ids.front() == tokenizer.bos(), tokenizer.add_bos());
    EXPECT_EQ(tokenizer.Decode(record->answer, false), " " + std::to_string(record->key));
    EXPECT_EQ(MakePasskeyRecord(tokenizer, 42, 64, 7, 0).status().kind(), StatusKind::kInvalidArgument);
    const auto fixed = MakePasskeyRecord(tokenizer, 42, 4096, 7, 2000);
    ASSERT_TRUE(fixed.ok());
    EXPECT_EQ(fixed->key, 36133);
    EXPECT_EQ(fixed->filler_chars, 2000);
  }
}

// Protocol 0.3 and 9: a fork answers as a fresh run does, and stage 1 knows nothing of questions, not even of those
// asked in earlier forks of it.
TEST(Passkey, ForkEqualsAFreshRunWhateverWasAskedBefore) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const std::atomic<bool> cancel = false;
  const auto record = MakePasskeyRecord(runtime->tokenizer(), 42, 1024, 10, 0);
  ASSERT_TRUE(record.ok());
  const KvOptions kv = Arkvale(256);

  Session fresh = *Session::Make(*runtime, kv);
  ASSERT_TRUE(fresh.Prefill(record->context, false).ok());
  const auto wanted = AskQuestion(runtime->tokenizer(), fresh, record->question, 12, cancel);
  ASSERT_TRUE(wanted.ok()) << wanted.status().ToString();
  EXPECT_EQ(wanted->ids.size(), 12u);

  const Session base = Dense(*runtime, record->context);
  const auto other = runtime->tokenizer().Encode("\nIs the sky blue?", false, false);
  ASSERT_TRUE(other.ok());
  std::vector<std::vector<int32_t>> answers;
  for (const auto& question : {*other, record->question}) {
    Session fork = *base.Fork(kv);
    const KvStats before = *fork.stats();
    EXPECT_EQ(before.steps, 0);
    EXPECT_GT(before.evicted_pages_now, 0) << "evicted before any question";
    const auto answer = AskQuestion(runtime->tokenizer(), fork, question, 12, cancel);
    ASSERT_TRUE(answer.ok());
    answers.push_back(answer->ids);
  }
  EXPECT_EQ(answers[1], wanted->ids);
  EXPECT_NE(answers[0], wanted->ids);
}

}  // namespace
}  // namespace arkvale::tools
