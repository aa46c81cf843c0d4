#include "kv/query_ring.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

// Rows of width 2 that hold their number.
void Put(QueryRing& ring, int first, int n) {
  std::vector<float> rows;
  for (int i = 0; i < n; ++i) rows.insert(rows.end(), {static_cast<float>(first + i), -1.0f});
  ring.Put({rows.data(), n, 2, 2});
}

std::vector<float> Numbers(const QueryRing& ring) {
  std::vector<float> rows, numbers;
  ring.Gather(ring.n_known(), rows);
  for (size_t i = 0; i < rows.size(); i += 2) numbers.push_back(rows[i]);
  return numbers;
}

TEST(QueryRing, KeepsTheNewestRowsOverBatches) {
  QueryRing ring(3);
  EXPECT_EQ(ring.n_known(), 0);
  int next = 0;
  for (const int n : {1, 1, 2, 5, 1, 3, 4}) {
    Put(ring, next, n);
    next += n;
    const std::vector<float> pending = Numbers(ring);
    ring.Commit();
    ASSERT_EQ(ring.n_known(), std::min(3, next));
    EXPECT_EQ(Numbers(ring), pending);
    for (int i = 0; i < ring.n_known(); ++i) EXPECT_EQ(ring.Newest(i)[0], static_cast<float>(next - 1 - i));
  }
}

TEST(QueryRing, AbortForgetsTheBatch) {
  QueryRing ring(3);
  Put(ring, 0, 4);
  ring.Commit();
  Put(ring, 50, 2);
  EXPECT_EQ(Numbers(ring), (std::vector<float>{3, 50, 51}));
  ring.Abort();
  EXPECT_EQ(Numbers(ring), (std::vector<float>{1, 2, 3}));
}

TEST(QueryRing, CopiesWhatThereIsRoomFor) {
  QueryRing ring(4), small(2), large(8);
  Put(ring, 0, 7);
  ring.Commit();
  small.CopyFrom(ring);
  large.CopyFrom(ring);
  EXPECT_EQ(Numbers(small), (std::vector<float>{5, 6}));
  EXPECT_EQ(Numbers(large), (std::vector<float>{3, 4, 5, 6}));
  Put(large, 7, 1);
  large.Commit();
  EXPECT_EQ(Numbers(large), (std::vector<float>{3, 4, 5, 6, 7}));
}

}  // namespace
}  // namespace arkvale
