#include "kv/page_table.h"

#include <gtest/gtest.h>

#include <utility>

#include "base/rng.h"

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

TEST(PageTable, ForEachHotVisitsWhatIsHot) {
  Rng rng("page-table/hot");
  for (const int32_t n : {0, 1, 7, 8, 9, 63, 64, 65, 200}) {
    for (const uint64_t states_in_use : {1, 3, 5}) {
      std::vector<PageState> states(n);
      for (PageState& s : states) s = static_cast<PageState>(5 - states_in_use + rng.Below(states_in_use));
      for (const auto& [begin, end] : {std::pair(0, n), std::pair(n / 3, n - n / 4), std::pair(n, 0)}) {
        std::vector<int32_t> want, got;
        for (int32_t i = begin; i < end; ++i) {
          if (IsHot(states[i])) want.push_back(i);
        }
        ForEachHot(states, begin, end, [&](int32_t page) { got.push_back(page); });
        EXPECT_EQ(got, want) << n << " states, " << begin << " to " << end;
      }
    }
  }
}

}  // namespace
}  // namespace arkvale
