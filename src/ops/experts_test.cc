#include "ops/experts.h"

#include <gtest/gtest.h>

#include <limits>

#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::TestContext;

TEST(RouteExperts, MatchesReference) {
  struct Case {
    int64_t n, n_experts, k;
  };
  for (const Case& c : {Case{0, 4, 2}, Case{1, 1, 1}, Case{3, 8, 2}, Case{5, 5, 5}, Case{700, 128, 8}}) {
    Rng rng("route");
    Matrix logits = Matrix::Random(rng, c.n, c.n_experts, 3, 8.0f);
    for (const int threads : {1, 2}) {
      TestContext ctx(threads);
      std::vector<int32_t> ids(static_cast<size_t>(c.n * c.k), -1);
      std::vector<float> weights(ids.size(), -1.0f);
      ExpectOk(RouteExperts(ctx, logits.view(), c.k, ids, weights));
      for (int64_t i = 0; i < c.n; ++i) {
        const auto want = reference::RouteExperts({logits.view().row(i), static_cast<size_t>(c.n_experts)}, c.k);
        for (int64_t j = 0; j < c.k; ++j) {
          ASSERT_EQ(ids[i * c.k + j], want[j].first) << "row " << i;
          ASSERT_NEAR(weights[i * c.k + j], want[j].second, test::kEpsilon) << "row " << i;
        }
      }
    }
  }
}

TEST(RouteExperts, TiesAndNumbersThatAreNone) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  TestContext ctx(1);
  const auto route = [&](std::vector<float> row, std::vector<int32_t> want_ids, std::vector<float> want_weights) {
    std::vector<int32_t> ids(want_ids.size());
    std::vector<float> weights(want_ids.size());
    const auto n = static_cast<int64_t>(row.size());
    ExpectOk(RouteExperts(ctx, {row.data(), 1, n, n}, static_cast<int64_t>(ids.size()), ids, weights));
    EXPECT_EQ(ids, want_ids);
    EXPECT_EQ(weights, want_weights);
  };
  route({1, 3, 3, 1}, {1, 2}, {0.5f, 0.5f});
  route({1, 1, 1, 1}, {0, 1}, {0.5f, 0.5f});
  route({nan, 2, nan, -inf}, {1, 0}, {1, 0});
  route({nan, nan, -inf, nan}, {0, 1}, {0.5f, 0.5f});
  route({-1000, 1000, 0, 999}, {1, 3}, {1 / (1 + std::exp(-1.0f)), std::exp(-1.0f) / (1 + std::exp(-1.0f))});
}

TEST(ExpertRows, GatherAndScatterAreInverse) {
  Rng rng("rows");
  Matrix x = Matrix::Random(rng, 9, 37, 2);
  const std::vector<int64_t> rows = {0, 3, 4, 8};
  for (const int threads : {1, 2}) {
    TestContext ctx(threads);
    Matrix gathered(4, 37, 1);
    ExpectOk(GatherRows(ctx, x.view(), rows, gathered.view()));
    EXPECT_TRUE(gathered.Intact());
    Matrix out = x;
    const std::vector<float> weights = {-1, 0.5f, 2, 0};
    ExpectOk(ScatterAddRows(ctx, gathered.view(), rows, weights, out.view()));
    EXPECT_TRUE(out.Intact());
    for (int64_t i = 0; i < 9; ++i) {
      const auto at = std::find(rows.begin(), rows.end(), i) - rows.begin();
      const float weight = at == 4 ? 0 : weights[at];
      for (int64_t c = 0; c < 37; ++c) ASSERT_FLOAT_EQ(out.at(i, c), x.at(i, c) + weight * x.at(i, c)) << i;
    }
  }
}

TEST(ExpertsTest, RefusesWrongArguments) {
  TestContext ctx(1);
  Matrix logits(2, 4), out(1, 4), two(2, 4);
  std::vector<int32_t> ids(4);
  std::vector<float> weights(4);
  ExpectInvalid(RouteExperts(ctx, logits.view(), 0, ids, weights), "0 of 4 experts");
  ExpectInvalid(RouteExperts(ctx, logits.view(), 5, ids, weights), "5 of 4 experts");
  ExpectInvalid(RouteExperts(ctx, logits.view(), 1, ids, weights), "expected 2");
  const std::vector<int64_t> far = {2}, one = {1}, negative = {-1};
  ExpectInvalid(GatherRows(ctx, logits.view(), far, out.view()), "row 2 of 2");
  ExpectInvalid(GatherRows(ctx, logits.view(), negative, out.view()), "row -1");
  ExpectInvalid(GatherRows(ctx, logits.view(), one, two.view()), "expected [1, 4]");
  ExpectInvalid(ScatterAddRows(ctx, out.view(), far, {weights.data(), 1}, logits.view()), "row 2 of 2");
  ExpectInvalid(ScatterAddRows(ctx, out.view(), one, weights, logits.view()), "4 weights for 1 rows");
}

}  // namespace
}  // namespace arkvale
