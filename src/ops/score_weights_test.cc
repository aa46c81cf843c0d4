#include "ops/score_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/reference_attention.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class ScoreWeightsTest : public test::EveryTarget {};

TEST_P(ScoreWeightsTest, MatchesReference) {
  Rng rng("score-weights");
  for (const int n : {0, 1, 3, 7, 8, 15, 16, 17, 31, 64, 100, 1003}) {
    for (const float softcap : {0.0f, 5.0f, 50.0f}) {
      for (const float scale : {0.125f, 3.0f}) {
        std::vector<float> x(n), want(n), got(n + 1, -7.0f);
        for (float& v : x) v = rng.Uniform(-30, 30);
        if (n > 4) x[rng.Below(n)] = NAN;
        const ScoreWeights r = reference::WeighScores(x, scale, softcap, want);
        const ScoreWeights w = WeighScores(x, scale, softcap, {got.data(), x.size()});
        EXPECT_EQ(got[n], -7.0f);
        // What a score of this size is rounded by, and the exponential with it.
        const double largest = softcap > 0 ? std::min(30.0f * scale, softcap) : 30.0f * scale;
        const double error = test::kEpsilon * (8 + 4 * largest);
        if (n > 0) EXPECT_NEAR(w.top, r.top, error);
        EXPECT_NEAR(w.sum, r.sum, (error + test::kEpsilon * n) * r.sum);
        for (int i = 0; i < n; ++i) EXPECT_NEAR(got[i], want[i], error * want[i] + 1e-37) << i << " of " << n;
        std::vector<float> in_place = x;
        (void)WeighScores(in_place, scale, softcap, in_place);
        EXPECT_TRUE(std::equal(in_place.begin(), in_place.end(), got.begin()));
      }
    }
  }
}

TEST_P(ScoreWeightsTest, ExtremesAreNeverNan) {
  for (const float softcap : {0.0f, 20.0f}) {
    for (const float x : {-kInf, -3e38f, 0.0f, 3e38f, kInf, static_cast<float>(NAN)}) {
      // One in the vectors and one in the rest, beside an ordinary score.
      std::vector<float> row(35, x), got(35);
      row[20] = 1;
      const ScoreWeights w = WeighScores(row, 2.0f, softcap, got);
      EXPECT_FALSE(std::isnan(w.top));
      EXPECT_GE(w.sum, 1.0) << x;
      for (const float weight : got) EXPECT_TRUE(weight >= 0 && weight <= 1) << x << " " << weight;
      EXPECT_EQ(*std::max_element(got.begin(), got.end()), 1.0f) << x;
    }
  }
  std::vector<float> none(19, NAN), got(19, 5);
  none[3] = -kInf;
  EXPECT_EQ(WeighScores(none, 2.0f, 0.0f, got).top, -kInf);
  EXPECT_EQ(got, std::vector<float>(19, 0.0f));
}

INSTANTIATE_TEST_SUITE_P(Simd, ScoreWeightsTest, test::EveryTarget::Values(), test::EveryTarget::Name);

}  // namespace
}  // namespace arkvale
