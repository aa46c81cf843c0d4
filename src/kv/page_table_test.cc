#include "kv/page_table.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

TEST(PageTable, LifeOfAPage) {
  PageTable t(2, 100);
  EXPECT_EQ(t.Open(0, SlotId(7)), 0);
  EXPECT_EQ(t.Open(1, SlotId(8)), 0);
  EXPECT_EQ(t.state(0, 0), PageState::kFilling);
  t.Fill(0, 0);
  EXPECT_EQ(t.state(0, 0), PageState::kBackingUp);
  t.BackupDone(0, 0);
  EXPECT_EQ(t.n_hot(0), 1);
  EXPECT_EQ(t.hot_bytes(), 200);
  EXPECT_EQ(t.Evict(0, 0), SlotId(7));
  EXPECT_EQ(t.n_hot(0), 0);
  EXPECT_FALSE(t.slot(0, 0).valid());
  t.BeginRecall(0, 0, SlotId(3));
  EXPECT_FALSE(IsHot(t.state(0, 0)));  // not readable before its copy ended
  EXPECT_FALSE(t.EndRecall(0, 0, true).valid());
  EXPECT_EQ(t.slot(0, 0), SlotId(3));
  EXPECT_TRUE(IsHot(t.state(0, 0)));
  const KvCounters& c = t.counters();
  EXPECT_EQ(c.inserted, 2);
  EXPECT_EQ(c.filled, 1);
  EXPECT_EQ(c.backed_up, 1);
  EXPECT_EQ(c.evicted, 1);
  EXPECT_EQ(c.recalled, 1);
  EXPECT_EQ(c.recalled_bytes, 100);
}

TEST(PageTable, FailedRecallLeavesThePageEvictedAndFreesTheSlot) {
  PageTable t(1, 10);
  t.Open(0, SlotId(0));
  t.Fill(0, 0);
  t.BackupDone(0, 0);
  t.Evict(0, 0);
  t.BeginRecall(0, 0, SlotId(5));
  EXPECT_EQ(t.EndRecall(0, 0, false), SlotId(5));
  EXPECT_EQ(t.state(0, 0), PageState::kEvicted);
  EXPECT_EQ(t.counters().recalled, 0);
}

TEST(PageTable, UndoRestoresCounters) {
  PageTable t(1, 10);
  t.Open(0, SlotId(0));
  t.Fill(0, 0);
  t.BackupDone(0, 0);
  t.Unfill(0, 0);
  EXPECT_EQ(t.state(0, 0), PageState::kFilling);
  EXPECT_EQ(t.counters().filled, 0);
  EXPECT_EQ(t.counters().backed_up, 0);
  EXPECT_EQ(t.Close(0), SlotId(0));
  EXPECT_EQ(t.counters().inserted, 0);
  EXPECT_EQ(t.n_pages(), 0);
  EXPECT_EQ(t.n_hot(0), 0);
}

using PageTableDeathTest = ::testing::Test;

TEST(PageTableDeathTest, IllegalMovesAreCaught) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PageTable t(1, 10);
  t.Open(0, SlotId(0));
  EXPECT_DEATH(t.Evict(0, 0), "CHECK");  // filling
  t.Fill(0, 0);
  EXPECT_DEATH(t.Evict(0, 0), "CHECK");  // its backup is running
  t.BackupDone(0, 0);
  EXPECT_DEATH(t.BeginRecall(0, 0, SlotId(1)), "CHECK");  // resident
}

}  // namespace
}  // namespace arkvale
