#include "kv/audit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace arkvale {
namespace {

TEST(TrueScores, MeanForAllCombinesButMax) {
  const std::vector<float> max_qk = {1, 5, 3, 3, 1, 8};
  std::vector<float> out(3);
  for (const CombineKind kind : {CombineKind::kMean, CombineKind::kSoftmaxMean, CombineKind::kSoftmaxPinned}) {
    TrueScores(kind, max_qk, 2, out);
    EXPECT_EQ(out, (std::vector<float>{2, 3, 5.5f}));
  }
  TrueScores(CombineKind::kMax, max_qk, 2, out);
  EXPECT_EQ(out, (std::vector<float>{3, 5, 8}));
}

// Algorithms 10.5: true order 0, 4, 2; the estimates take 0, 2, 5.
TEST(SetRecall, WorkedExample) {
  const std::vector<float> scores = {9, 1, 6, 0, 8, 2};
  EXPECT_DOUBLE_EQ(SetRecall(scores, 0, 6, std::vector<int32_t>{0}), 1.0);
  EXPECT_DOUBLE_EQ(SetRecall(scores, 0, 6, std::vector<int32_t>{0, 2}), 0.5);
  EXPECT_DOUBLE_EQ(SetRecall(scores, 0, 6, std::vector<int32_t>{0, 2, 5}), 2.0 / 3);
  // Candidates only: without page 0 the order is 4, 2.
  EXPECT_DOUBLE_EQ(SetRecall(scores, 1, 5, std::vector<int32_t>{2, 4}), 1.0);
  EXPECT_DOUBLE_EQ(SetRecall(scores, 1, 5, std::vector<int32_t>{}), 1.0);
}

TEST(MassRecall, MeanOverHeadsOfTheShares) {
  const auto ln = [](double x) { return static_cast<float>(std::log(x)); };
  const std::vector<float> lse = {ln(1), ln(3), ln(4), ln(2), ln(2), ln(0.5)};
  EXPECT_NEAR(MassRecall(lse, 2, std::vector<uint8_t>{1, 0, 1}), (5.0 / 8 + 2.5 / 4.5) / 2, 1e-7);
  EXPECT_NEAR(MassRecall(lse, 2, std::vector<uint8_t>{1, 1, 1}), 1.0, 1e-12);
  // Far beyond what exp can hold.
  EXPECT_NEAR(MassRecall(std::vector<float>{3000, 3001}, 1, std::vector<uint8_t>{0, 1}), 1 / (1 + std::exp(-1)), 1e-9);
}

}  // namespace
}  // namespace arkvale
