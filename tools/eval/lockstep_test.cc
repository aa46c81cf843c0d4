#include "tools/eval/lockstep.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

TEST(Lockstep, WindowsSpreadFromStartToEnd) {
  EXPECT_EQ(WindowStart(0, 1, 1000, 100), 0);
  EXPECT_EQ(WindowStart(0, 4, 1000, 101), 0);
  EXPECT_EQ(WindowStart(1, 4, 1000, 101), 299);
  EXPECT_EQ(WindowStart(3, 4, 1000, 101), 899);
}

TEST(Lockstep, TheBaseKeepsWhatTheCellsJudgeBy) {
  KvOptions cell;
  EXPECT_EQ(BaseOptions({&cell, 1}).collect, KvCollect{});
  cell.snap_window = 12;
  for (const KvPolicyKind policy : {KvPolicyKind::kSnapkv, KvPolicyKind::kPyramidkv, KvPolicyKind::kXkv}) {
    cell.policy = policy;
    EXPECT_EQ(BaseOptions({&cell, 1}).collect, (KvCollect{.last_queries = 12})) << KvPolicyName(policy);
  }
  cell.policy = KvPolicyKind::kH2o;
  EXPECT_EQ(BaseOptions({&cell, 1}).collect, (KvCollect{.column_sums = true}));
}

TEST(Lockstep, TheFloorHasTheLeastBudgetAndReadsAll) {
  KvOptions like;
  like.page_tokens = 16;
  like.sink_pages = 3;
  const KvOptions floor = FloorOptions(like);
  EXPECT_EQ(floor.attend, AttendKind::kAll);
  EXPECT_EQ(floor.budget_tokens, 6 * 16);
  EXPECT_TRUE(floor.Validate(30, 3).ok());
}

}  // namespace
}  // namespace arkvale::tools
