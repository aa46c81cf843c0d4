// The two ways to feed a question (evaluation protocol 0.3, 9), on a real model.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <tuple>

#include "engine/engine_test_util.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "tools/common/exit_code.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/passkey_report.h"
#include "tools/eval/passkey_text.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/tasks.h"

namespace arkvale::tools {
namespace {

KvOptions Cell(KvPolicyKind policy, int64_t budget) {
  KvOptions options;
  options.policy = policy;
  options.budget_tokens = budget;
  return options;
}

// The mean of the layers is `budget`; neighbours differ by a factor of four and more.
KvOptions UnevenCell(int64_t budget) {
  KvOptions options = Cell(KvPolicyKind::kXkv, budget);
  for (int l = 0; l < 30; ++l) options.layer_budget_tokens.push_back(l % 2 == 0 ? budget / 4 : 2 * budget - budget / 4);
  return options;
}

// A passkey in the middle of 1024 tokens, and another question of as many tokens.
class Feed : public ::testing::Test {
 protected:
  void SetUp() override {
    runtime_ = std::move(*Runtime::Load(SmolLm2()));
    passkey_ = *MakePasskeyRecord(runtime_->tokenizer(), 42, 1024, 10, 0);
    other_question_ = *runtime_->tokenizer().Encode("\nThe sky, the grass and the sun are all", false, false);
    other_question_.resize(passkey_.question.size());
  }

  EvalRecord Record(Feeding feeding, const std::vector<int32_t>& question) {
    RunInfo info = {.task = "passkey", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};
    info.feeding = feeding;
    return {
        .labels = [this, info](const KvOptions& cell) { return PasskeyLabels(info, passkey_, cell, kMaxNew); },
        .prompt = [this, question]() -> Result<RecordPrompt> {
          return RecordPrompt{passkey_.context, question, ""};
        },
        .judge = [this](const Answer& answer, const Json&) { return PasskeyResult(passkey_, answer); },
        .feeding = feeding,
        .max_new = kMaxNew,
    };
  }

  // What each cell says when it is asked for the passkey in a fork of what was prefilled, and every logit on the way.
  EvalRecord Probe(Feeding feeding, const std::vector<int32_t>& question) {
    EvalRecord record = Record(feeding, question);
    record.judge = {};
    record.measure = [this](Session& fork) -> Result<Json> {
      std::vector<float> logits;
      for (const int32_t id : passkey_.question) {
        ARKVALE_RETURN_IF_ERROR(fork.Step(id));
        logits.insert(logits.end(), fork.logits().begin(), fork.logits().end());
      }
      logits_.push_back(std::move(logits));
      ARKVALE_ASSIGN_OR_RETURN(const Answer answer, DecodeAnswer(runtime_->tokenizer(), fork, kMaxNew, never_));
      return Json{{"found", PasskeyCorrect(answer.text, passkey_.key)}};
    };
    return record;
  }

  std::vector<Json> Run(const EvalRecord& record, const std::vector<KvOptions>& cells) {
    const auto log = std::move(*RecordLog::Open("", false, true));
    RecordRunner runner(*runtime_, *log, cells, 1, 1, true);
    EXPECT_TRUE(runner.Run(record).ok());
    for (const Json& json : runner.Finish()) EXPECT_TRUE(json["error"].is_null()) << json["error"];
    return runner.Finish();
  }

  static constexpr int32_t kMaxNew = 8;
  const std::atomic<bool> never_ = false;
  std::unique_ptr<Runtime> runtime_;
  PasskeyRecord passkey_;
  std::vector<int32_t> other_question_;
  std::vector<std::vector<float>> logits_;  // of the probes, in the order of their cells
};

TEST_F(Feed, UnderFullAttentionBothGiveTheSameAnswer) {
  const auto stages = Run(Record(Feeding::kThreeStage, passkey_.question), {DenseOptions()});
  const auto joint = Run(Record(Feeding::kJoint, passkey_.question), {DenseOptions()});
  ASSERT_EQ(stages.size(), 1u);
  ASSERT_EQ(joint.size(), 1u);
  EXPECT_EQ(stages[0]["feed"], "3stage");
  EXPECT_EQ(joint[0]["feed"], "joint");
  EXPECT_EQ(joint[0]["correct"], true) << joint[0]["text"];
  for (const char* field : {"text", "tokens_context", "tokens_question", "tokens_generated", "kv_total_bytes"}) {
    EXPECT_EQ(stages[0][field], joint[0][field]) << field;
  }
}

// Bit for bit what the cells hold after the prefill, whatever is asked.
TEST_F(Feed, ThreeStagesPrefillNothingOfTheQuestion) {
  const std::vector<KvOptions> cells = {
      DenseOptions(),
      Cell(KvPolicyKind::kArkvale, 256),
      Cell(KvPolicyKind::kSnapkv, 256),
      Cell(KvPolicyKind::kPyramidkv, 256),
      Cell(KvPolicyKind::kH2o, 256),
      Cell(KvPolicyKind::kTova, 256),
      Cell(KvPolicyKind::kXkv, 256),
      UnevenCell(256),
  };
  const auto asked = Run(Probe(Feeding::kThreeStage, passkey_.question), cells);
  const auto other = Run(Probe(Feeding::kThreeStage, other_question_), cells);
  ASSERT_EQ(logits_.size(), 2 * cells.size());
  for (size_t c = 0; c < cells.size(); ++c) {
    EXPECT_EQ(logits_[c], logits_[cells.size() + c]) << KvPolicyName(cells[c].policy);
    EXPECT_EQ(asked[c]["kv_hot_bytes"], other[c]["kv_hot_bytes"]);
    EXPECT_EQ(asked[c]["found"], other[c]["found"]);
  }
  const size_t snapkv = 2, xkv = 6, uneven = 7;
  EXPECT_EQ(logits_[xkv], logits_[snapkv]) << "one prompt, all layers alike";
  EXPECT_NE(logits_[uneven], logits_[xkv]);
}

// Both feed the same ids to the same policies: what differs is whether the question was there when SnapKV chose.
TEST_F(Feed, JointShowsTheQuestionToSnapKvBeforeItDrops) {
  const std::vector<KvOptions> cells = {DenseOptions(), Cell(KvPolicyKind::kSnapkv, 256),
                                        Cell(KvPolicyKind::kPyramidkv, 256)};
  const auto unseen = Run(Record(Feeding::kThreeStage, passkey_.question), cells);
  const auto seen = Run(Record(Feeding::kJoint, passkey_.question), cells);
  EXPECT_EQ(unseen[0]["correct"], true);
  for (size_t c = 1; c < cells.size(); ++c) {
    EXPECT_EQ(unseen[c]["correct"], false) << unseen[c]["text"];
    EXPECT_EQ(seen[c]["correct"], true) << seen[c]["text"];
    EXPECT_LT(seen[c]["kv_hot_bytes"], unseen[c]["kv_hot_bytes"]) << "the question counts as text to choose from";
  }
}

class FeedTask : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  int Run(int (*task)(int, char**), std::vector<std::string> args) {
    args.insert(args.begin(),
                {"task", "-m", SmolLm2().model_path, "--budgets", "256", "--quiet", "--threads", "2", "--out", dir_});
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    return task(static_cast<int>(argv.size()), argv.data());
  }
  std::string Read(const std::string& name) {
    std::ifstream file(dir_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<Json> Records() {
    std::vector<Json> records;
    std::istringstream lines(Read("records.jsonl"));
    for (std::string line; std::getline(lines, line);) records.push_back(Json::parse(line)["record"]);
    return records;
  }

  const std::string dir_ = ::testing::TempDir() + "feed_task_" + std::to_string(getpid());
};

TEST_F(FeedTask, ASecondRunTellsTheTwoFeedingsApart) {
  const std::vector<std::string> stages = {"--lengths", "512,600", "--depths", "5", "--limit", "1"};
  std::vector<std::string> joint = stages;
  joint.insert(joint.end(), {"--feed", "joint"});
  ASSERT_EQ(Run(RunPasskey, stages), kExitDone);
  ASSERT_EQ(Records().size(), 4u) << "of each length the first record, in two cells";
  EXPECT_NE(Read("summary.md").find("Feed 3stage"), std::string::npos);
  ASSERT_EQ(Run(RunPasskey, joint), kExitDone);
  const auto records = Records();
  ASSERT_EQ(records.size(), 8u);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i]["feed"], i < 4 ? "3stage" : "joint");
    EXPECT_EQ(records[i]["length_tokens"], i % 4 < 2 ? 512 : 600);
    EXPECT_EQ(records[i]["depth"], 0);
  }
  const Json summary = Json::parse(Read("summary.json"))["summary"];
  EXPECT_EQ(summary["feed"], "joint");
  for (const Json& row : summary["cells"]) {
    EXPECT_EQ(row["feed"], "joint");
    EXPECT_EQ(row["records"], 1);
  }
  EXPECT_NE(Read("summary.md").find("Feed joint"), std::string::npos);
  ASSERT_EQ(Run(RunPasskey, stages), kExitDone);
  ASSERT_EQ(Run(RunPasskey, joint), kExitDone);
  EXPECT_EQ(Records(), records) << "all of both were there";
}

TEST_F(FeedTask, RulerLimitsEachTaskAndFeedsJointly) {
  ASSERT_EQ(Run(RunRuler, {"--tasks", "S-1,MK-2", "--lengths", "512", "--samples", "2", "--seed", "42,43", "--limit",
                           "1", "--feed", "joint"}),
            kExitDone);
  std::multiset<std::string> ids;
  for (const Json& record : Records()) {
    EXPECT_EQ(record["feed"], "joint");
    ids.insert(record["record_id"].get<std::string>());
  }
  EXPECT_EQ(ids, (std::multiset<std::string>{"niah_single_1/42/512/0", "niah_single_1/42/512/0",
                                             "niah_multikey_2/42/512/0", "niah_multikey_2/42/512/0"}));
  EXPECT_NE(Read("summary.md").find("Feed joint"), std::string::npos);
}

TEST_F(FeedTask, RefusesOtherFeedingsAndLimits) {
  for (const auto& [flag, value, error] :
       {std::tuple{"--feed", "twice", "--feed 'twice' is unknown"}, {"--limit", "0", "--limit 0: use 1 or more"}}) {
    for (int (*task)(int, char**) : {RunPasskey, RunRuler}) {
      std::vector<std::string> args = {flag, value};
      if (task == RunRuler) args.insert(args.end(), {"--tasks", "S-1"});
      ::testing::internal::CaptureStderr();
      EXPECT_EQ(Run(task, args), kExitUsage);
      EXPECT_NE(::testing::internal::GetCapturedStderr().find(error), std::string::npos) << error;
    }
  }
}

}  // namespace
}  // namespace arkvale::tools
