#include "tools/eval/eval_flags.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

// A task that asks questions, told `args`.
class Task {
 public:
  explicit Task(std::vector<std::string> args) {
    const FlagGroup group(cli_, "Records");
    flags.AddLimit(group, "only the first records", "all");
    flags.AddFeed(group);
    flags.Add(cli_);
    args.insert(args.begin(), {"test", "-m", "m.gguf"});
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    EXPECT_EQ(cli_.Parse(static_cast<int>(argv.size()), argv.data()), std::nullopt);
  }

  EvalFlags flags;

 private:
  Cli cli_{"eval test", ""};
};

void ExpectRefused(const Status& status, const std::string& message) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(status.message(), message);
}

TEST(EvalFlags, FeedIsThreeStageUnlessJointIsAskedFor) {
  EXPECT_EQ(*Task({}).flags.feeding(), Feeding::kThreeStage);
  EXPECT_EQ(*Task({"--feed", "3stage"}).flags.feeding(), Feeding::kThreeStage);
  EXPECT_EQ(*Task({"--feed", "joint"}).flags.feeding(), Feeding::kJoint);
  ExpectRefused(Task({"--feed", "Joint"}).flags.feeding().status(), "--feed 'Joint' is unknown: use 3stage or joint");
}

TEST(EvalFlags, LimitKeepsTheFirstRecords) {
  EXPECT_EQ(*Task({}).flags.limit(), 0);
  EXPECT_EQ(*Task({"--limit", "3"}).flags.limit(), 3);
  for (const char* wrong : {"0", "-1"}) {
    ExpectRefused(Task({"--limit", wrong}).flags.limit().status(), std::string("--limit ") + wrong + ": use 1 or more");
  }
  EXPECT_EQ(*EvalFlags().limit(), 0) << "a task without the flag";
  for (const auto& [limit, left] : {std::pair{0, 3}, {2, 2}, {3, 3}, {9, 3}}) {
    std::vector<int> records = {7, 8, 9};
    KeepFirst(limit, records);
    ASSERT_EQ(records.size(), static_cast<size_t>(left)) << limit;
    EXPECT_EQ(records.front(), 7);
  }
}

}  // namespace
}  // namespace arkvale::tools
