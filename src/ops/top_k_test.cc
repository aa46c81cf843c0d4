#include "ops/top_k.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<int32_t> Naive(std::vector<float> scores, int64_t k) {
  for (float& x : scores) x = std::isnan(x) ? -kInf : x;
  std::vector<int32_t> all(scores.size());
  std::iota(all.begin(), all.end(), 0);
  std::stable_sort(all.begin(), all.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  all.resize(std::min<size_t>(all.size(), std::max<int64_t>(k, 0)));
  return all;
}

TEST(TopK, OrderRule) {
  std::vector<int32_t> out = {9, 9, 9};
  TopK(std::vector<float>{1, 3, NAN, 3, -kInf, 0.0f, -0.0f}, 7, out);
  EXPECT_EQ(out, (std::vector<int32_t>{1, 3, 0, 5, 6, 2, 4}));
  TopK(std::vector<float>{1, 3, NAN, 3}, 1, out);
  EXPECT_EQ(out, (std::vector<int32_t>{1}));
}

TEST(TopK, MatchesStableSort) {
  Rng rng(uint64_t{5});
  std::vector<int32_t> out;
  for (int64_t n : {0, 1, 2, 7, 64, 1000}) {
    for (int64_t k : {-1, 0, 1, 3, 32, 999, 1000, 5000}) {
      for (const uint64_t values : {1, 4, 1 << 20}) {  // few values make many ties
        std::vector<float> scores(n);
        for (float& x : scores) x = rng.Below(50) == 0 ? NAN : static_cast<float>(rng.Below(values)) - 2;
        TopK(scores, k, out);
        EXPECT_EQ(out, Naive(scores, k)) << "n " << n << " k " << k;
      }
    }
  }
}

TEST(TopK, SortedInputs) {
  std::vector<float> up(1000), down(1000);
  std::iota(up.begin(), up.end(), -500.0f);
  std::copy(up.rbegin(), up.rend(), down.begin());
  std::vector<int32_t> out;
  for (int64_t k : {1, 31, 499, 500, 501}) {
    TopK(up, k, out);
    EXPECT_EQ(out, Naive(up, k));
    TopK(down, k, out);
    EXPECT_EQ(out, Naive(down, k));
  }
}

TEST(TopK, ReusesItsVector) {
  std::vector<float> scores(500);
  std::iota(scores.begin(), scores.end(), 0.0f);
  std::vector<int32_t> out;
  TopK(scores, 10, out);
  const int32_t* memory = out.data();
  for (int i = 0; i < 3; ++i) TopK(scores, 10, out);
  EXPECT_EQ(out.data(), memory);
}

TEST(TopK, RanksBeforeIsStrict) {
  EXPECT_TRUE(RanksBefore(2, 9, 1, 0));
  EXPECT_TRUE(RanksBefore(1, 0, 1, 1));
  EXPECT_FALSE(RanksBefore(1, 1, 1, 0));
  EXPECT_FALSE(RanksBefore(1, 1, 1, 1));
  EXPECT_TRUE(RanksBefore(-kInf, 0, NAN, 1));
  EXPECT_FALSE(RanksBefore(NAN, 1, -kInf, 0));
}

TEST(TopK, KeysAreTheOrderRule) {
  const float values[] = {-kInf, NAN, -3e38f, -1, -1e-40f, -0.0f, 0, 1e-40f, 1, 2, kInf};
  for (const float a : values) {
    for (const float b : values) {
      for (const int32_t ib : {0, 7, 0x7fffffff}) {
        EXPECT_EQ(RankKey(a, 7) > RankKey(b, ib), RanksBefore(a, 7, b, ib)) << a << " " << b;
        EXPECT_EQ(RankedIndex(RankKey(b, ib)), ib);
      }
    }
  }
}

class TopKTest : public test::EveryTarget {};

// Scores of all magnitudes, crowds of equal ones, infinities and NaN.
std::vector<float> Scores(Rng& rng, int64_t n, int kind) {
  std::vector<float> scores(n);
  for (float& x : scores) {
    if (kind == 0) x = rng.Uniform(-40, 40);
    if (kind == 1) x = static_cast<float>(rng.Below(3)) - 1;
    if (kind == 2) x = std::ldexp(rng.Uniform(-1, 1), static_cast<int>(rng.Below(250)) - 125);
    if (kind == 3) x = rng.Below(3) == 0 ? NAN : rng.Below(2) == 0 ? -kInf : rng.Uniform(-1, 1);
    if (kind == 4) x = rng.Below(4) == 0 ? kInf : -0.0f;
    if (kind == 5) x = -7;
  }
  return scores;
}

TEST_P(TopKTest, MatchesStableSort) {
  Rng rng("top-k");
  std::vector<int32_t> out;
  TopKScratch scratch;
  for (const int64_t n : {1, 15, 16, 17, 33, 250, 1029}) {
    for (const int64_t k : {1, 2, 13, 28, 64, 65, 200}) {
      for (int kind = 0; kind < 6; ++kind) {
        const std::vector<float> scores = Scores(rng, n, kind);
        TopK(scores, k, out, scratch);
        std::vector<int32_t> want = Naive(scores, k);
        EXPECT_EQ(out, want) << "n " << n << " k " << k << " kind " << kind;
        std::sort(want.begin(), want.end());
        out.assign(want.size(), -1);
        TopKInOrder(scores, out, scratch);
        EXPECT_EQ(out, want) << "n " << n << " k " << k << " kind " << kind;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Simd, TopKTest, test::EveryTarget::Values(), test::EveryTarget::Name);

}  // namespace
}  // namespace arkvale
