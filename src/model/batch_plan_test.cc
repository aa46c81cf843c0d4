#include "model/batch_plan.h"

#include <gtest/gtest.h>

#include <vector>

namespace arkvale {
namespace {

constexpr auto kTiles = MatmulPath::kTiles;
constexpr auto kRows = MatmulPath::kRows;

TEST(BatchPlan, PathFollowsPhase) {
  const std::vector<int32_t> ids{1, 2, 3, 4};
  const std::span<const int32_t> all(ids);
  const ForwardItem items[] = {
      {SeqId(0), all.first(1)},
      {SeqId(1), all.first(1)},
      {SeqId(2), all, KvPhase::kPrefill, LogitsWanted::kNone},
      {SeqId(3), all.first(3), KvPhase::kPrefillLast, LogitsWanted::kAll},
      {SeqId(4), all.first(2), KvPhase::kPrefillLast, LogitsWanted::kLast},
      {SeqId(5), all.first(1), KvPhase::kStep, LogitsWanted::kAll},
  };
  BatchPlan plan;
  for (int round = 0; round < 2; ++round) {  // a plan is reused
    ASSERT_TRUE(plan.Set(items, 5).ok());
    EXPECT_EQ(plan.all.spans, (std::vector<RowSpan>{{0, 2, kRows}, {2, 11, kTiles}, {11, 12, kRows}}));
    EXPECT_EQ(plan.wanted_rows, (std::vector<int64_t>{0, 1, 6, 7, 8, 10, 11}));
    EXPECT_EQ(plan.wanted.spans, (std::vector<RowSpan>{{0, 2, kRows}, {2, 6, kTiles}, {6, 7, kRows}}));
    EXPECT_EQ(plan.output.spans, (std::vector<RowSpan>{{0, 2, kRows}, {2, 5, kTiles}, {5, 7, kRows}}));
    EXPECT_EQ(plan.ids.size(), 12u);
    EXPECT_EQ(plan.kv_items[3].n_new, 3);
  }
}

TEST(BatchPlan, RefusesBadItems) {
  BatchPlan plan;
  const std::vector<int32_t> ids{4, 5};
  const ForwardItem step_of_two{SeqId(0), ids};
  const ForwardItem beyond{SeqId(0), ids, KvPhase::kPrefill};
  const ForwardItem none{SeqId(0), {}, KvPhase::kPrefill};
  EXPECT_EQ(plan.Set({&step_of_two, 1}, 6).kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(plan.Set({&beyond, 1}, 5).kind(), StatusKind::kInvalidArgument);
  EXPECT_TRUE(plan.Set({&beyond, 1}, 6).ok());
  EXPECT_EQ(plan.Set({&none, 1}, 6).kind(), StatusKind::kInvalidArgument);
}

}  // namespace
}  // namespace arkvale
