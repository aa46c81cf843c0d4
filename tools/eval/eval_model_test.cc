// The eval tasks' rules on a real model.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/engine_test_util.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/common/interrupt.h"
#include "tools/eval/answer.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/passkey_text.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/ruler_prompt.h"

namespace arkvale::tools {
namespace {

std::unique_ptr<Runtime> Load(const std::string& file, KvType kv_type = KvType::kF16) {
  auto runtime = Runtime::Load({.model_path = ModelPath(file), .threads = kTestThreads, .kv_type = kv_type});
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

struct TypeCost {
  KvType type;
  double most_kl;
  int64_t block_bytes;  // for 64 of f16
};
class LockstepOfType : public testing::TestWithParam<TypeCost> {};
INSTANTIATE_TEST_SUITE_P(, LockstepOfType,
                         testing::Values(TypeCost{KvType::kQ8, 0.01, 34}, TypeCost{KvType::kQ4, 0.2, 18}),
                         [](const auto& info) { return std::string(KvTypeName(info.param.type)); });

// What fewer bits cost: more than rounding, less than a budget.
TEST_P(LockstepOfType, IsComparedWithTheReference) {
  constexpr int64_t kContext = 1000, kSteps = 6;
  const auto reference = SmolLm2(), other = Load("SmolLM2-135M-Instruct.Q4_1.gguf", GetParam().type);
  ASSERT_TRUE(reference != nullptr && other != nullptr);
  const auto ids = NovelIds(*reference, kContext + kSteps + 1);
  const Session base = Dense(*reference, std::span(ids).first(kContext));
  const Session typed = Dense(*other, std::span(ids).first(kContext));
  const std::vector<KvOptions> cells = {DenseOptions(), FloorOptions({}), DenseOptions(), Arkvale(256)};
  const auto runs = RunLockstep({reference.get(), &base}, {other.get(), &typed}, std::span(ids).subspan(kContext),
                                cells, [] { return OkStatus(); });
  ASSERT_TRUE(runs.ok()) << runs.status().ToString();
  std::vector<double> kl;
  for (const CellRun& run : *runs) kl.push_back(Summarise({&run.steps, 1}).kl_mean);
  EXPECT_EQ(kl[0], 0);
  EXPECT_GT(kl[2], 3 * kl[1]);
  EXPECT_LT(kl[2], GetParam().most_kl);
  EXPECT_GT(kl[3], kl[2]);
  EXPECT_EQ((*runs)[1].prefill_kl, 0);
  EXPECT_GT((*runs)[2].prefill_kl, 0);
  const KvStats f16 = (*runs)[0].stats, small = (*runs)[2].stats;
  EXPECT_EQ(small.full_bytes * 64, f16.full_bytes * GetParam().block_bytes);
  EXPECT_EQ(small.total_bytes * 64, f16.total_bytes * GetParam().block_bytes);
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

TEST(RulerRecord, FillsItsLengthAndHoldsBosOnce) {
  const std::vector<std::string> book = {"It was late.", "Nobody came to the old house on the hill, not even the dog."};
  for (const char* file : {"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"}) {
    const auto runtime = Load(file);
    ASSERT_NE(runtime, nullptr);
    const Tokenizer& tokenizer = runtime->tokenizer();
    for (const RulerTask& task : RulerTasks()) {
      const int64_t length = task.kind == RulerKind::kCommonWords ? 2048 : 1024;  // its example alone takes 500
      const RulerRecordId id = {.task = &task, .length_tokens = length};
      const auto record = MakeRulerRecord(tokenizer, id, book);
      ASSERT_TRUE(record.ok()) << task.name << ": " << record.status().ToString();
      const RecordPrompt& prompt = record->prompt;
      const auto n_ids = static_cast<int64_t>(prompt.context.size() + prompt.question.size()) + task.max_new;
      EXPECT_LE(n_ids, length) << task.name;
      EXPECT_GE(n_ids, length - 100) << task.name << ": one more line, of two UUIDs at most, would not fit";
      EXPECT_GE(record->size, task.min_size());
      const auto n_bos = std::count(prompt.context.begin(), prompt.context.end(), tokenizer.bos()) +
                         std::count(prompt.question.begin(), prompt.question.end(), tokenizer.bos());
      EXPECT_EQ(n_bos, tokenizer.add_bos() ? 1 : 0) << file << " " << task.name;
      const RulerRecordId tiny = {.task = &task, .length_tokens = 128};
      EXPECT_EQ(MakeRulerRecord(tokenizer, tiny, book).status().kind(), StatusKind::kInvalidArgument) << task.name;
    }
  }
}

// A record of SmolLM2 under full attention and two cells, written to a log.
class RecordRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    runtime_ = SmolLm2();
    ASSERT_NE(runtime_, nullptr);
    std::filesystem::remove_all(dir_);
    log_ = std::move(*RecordLog::Open(dir_, false, true));
    id_ = {.task = FindRulerTask("S-1"), .length_tokens = 512};
  }

  EvalRecord Record() {
    return {
        .labels = [this](const KvOptions& options) { return RulerLabels(info_, id_, options); },
        .prompt = [this]() -> Result<RecordPrompt> {
          ++n_prompts_;
          ARKVALE_ASSIGN_OR_RETURN(record_, MakeRulerRecord(runtime_->tokenizer(), id_, {}));
          return record_.prompt;
        },
        .judge =
            [this](const Answer& answer, const Json& dense) {
              dense_.push_back(dense);
              return RulerResult(id_, record_.text, record_.size, answer);
            },
        .max_new = 12,
    };
  }

  RecordRunner Runner(const std::vector<KvOptions>& cells) { return {*runtime_, *log_, cells, 1, 1, true}; }

  const std::string dir_ = ::testing::TempDir() + "record_runner_" + std::to_string(getpid());
  const RunInfo info_ = {.task = "ruler", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<RecordLog> log_;
  RulerRecordId id_;
  RulerRecord record_;
  std::vector<Json> dense_;
  int n_prompts_ = 0;
};

TEST_F(RecordRunnerTest, RunsWhatTheLogHasNotAndShowsTheDenseRecordToAll) {
  const std::vector<KvOptions> first = {DenseOptions(), Arkvale(256)};
  const std::vector<KvOptions> more = {DenseOptions(), Arkvale(256), Arkvale(288)};
  RecordRunner runner = Runner(first);
  ASSERT_TRUE(runner.Run(Record()).ok());
  const auto records = runner.Finish();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0]["score"], 1) << records[0]["pred"];
  EXPECT_EQ(records[0]["tokens_generated"], 12);
  EXPECT_EQ(records[1]["policy"], "arkvale");
  EXPECT_EQ(records[1]["error"], nullptr);
  ASSERT_EQ(dense_.size(), 2u);
  EXPECT_EQ(dense_[0], nullptr);
  EXPECT_EQ(dense_[1], records[0]);

  log_ = std::move(*RecordLog::Open(dir_, false, true));
  RecordRunner again = Runner(first);
  ASSERT_TRUE(again.Run(Record()).ok());
  EXPECT_EQ(again.Finish(), records);
  EXPECT_EQ(n_prompts_, 1) << "nothing was left to do";
  RecordRunner third = Runner(more);
  ASSERT_TRUE(third.Run(Record()).ok());
  EXPECT_EQ(third.Finish().size(), 3u);
  EXPECT_EQ(n_prompts_, 2);
  ASSERT_EQ(dense_.size(), 3u) << "only the new cell is judged";
  EXPECT_EQ(dense_[2], records[0]) << "that of the earlier run";
}

TEST_F(RecordRunnerTest, ACellThatFailsIsRecordedAndTheOthersRun) {
  KvOptions wrong = Arkvale(256);
  wrong.page_tokens = 31;
  const std::vector<KvOptions> cells = {DenseOptions(), wrong, Arkvale(256)};
  RecordRunner runner = Runner(cells);
  ASSERT_TRUE(runner.Run(Record()).ok());
  const auto& records = runner.Finish();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0]["error"], nullptr);
  EXPECT_NE(records[1]["error"].get<std::string>().find("31"), std::string::npos) << records[1]["error"];
  EXPECT_EQ(records[1]["score"], 0);
  EXPECT_EQ(records[1]["tokens_generated"], 0);
  EXPECT_EQ(records[1]["kv_hot_bytes"], nullptr);
  EXPECT_EQ(records[2]["error"], nullptr);
  EXPECT_GT(records[2]["kv_hot_bytes"], 0);
}

TEST_F(RecordRunnerTest, WithoutAPromptEveryCellSaysWhy) {
  const std::vector<KvOptions> cells = {DenseOptions(), Arkvale(256)};
  EvalRecord record = Record();
  record.prompt = [] { return RecordPrompt{.context = {}, .question = {}, .error = "the question was cut"}; };
  RecordRunner runner = Runner(cells);
  ASSERT_TRUE(runner.Run(record).ok());
  for (const Json& json : runner.Finish()) EXPECT_EQ(json["error"], "the question was cut");
  EXPECT_EQ(runner.Finish().size(), 2u);
  record.prompt = []() -> Result<RecordPrompt> { return NotFound("no file"); };
  id_.index = 1;
  EXPECT_EQ(runner.Run(record).kind(), StatusKind::kNotFound);
}

TEST_F(RecordRunnerTest, CtrlCLeavesWhatWasWritten) {
  const std::vector<KvOptions> cells = {DenseOptions(), Arkvale(256)};
  EvalRecord record = Record();
  record.judge = [judge = record.judge](const Answer& answer, const Json& dense) {
    g_cancel = true;
    return judge(answer, dense);
  };
  RecordRunner runner = Runner(cells);
  EXPECT_EQ(runner.Run(record).kind(), StatusKind::kCancelled);
  g_cancel = false;
  EXPECT_EQ(runner.Finish().size(), 1u);
  log_ = std::move(*RecordLog::Open(dir_, false, true));
  EXPECT_NE(log_->Find(RulerLabels(info_, id_, cells[0])), nullptr);
  EXPECT_EQ(log_->Find(RulerLabels(info_, id_, cells[1])), nullptr);
}

}  // namespace
}  // namespace arkvale::tools
