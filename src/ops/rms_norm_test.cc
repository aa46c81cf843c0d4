#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include "ops/reference_linear.h"
#include "ops/rms_norm_cases_test_util.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::RmsNormCase;
using test::TestContext;

class RmsNormKernels : public test::EveryTarget {};
INSTANTIATE_TEST_SUITE_P(Simd, RmsNormKernels, RmsNormKernels::Values(), RmsNormKernels::Name);

TEST_P(RmsNormKernels, MatchesReference) {
  for (const RmsNormCase& c : test::kRmsNormCases) {
    Rng rng("rms_norm");
    const Matrix x0 = Matrix::Random(rng, c.n, c.d, 3, 4.0f);
    Matrix weight = Matrix::Random(rng, 1, c.d);
    const Matrix out0 = Matrix::Random(rng, c.n, c.d, 1);
    Matrix first(0, 0);
    for (const int threads : {1, 2}) {
      TestContext ctx(threads);
      Matrix x = x0, out = c.in_place ? x0 : out0;
      const std::vector<double> want = reference::RmsNorm(x.view(), weight.view().data, 1e-5);
      const MatrixView in = c.in_place ? out.view() : x.view();
      ExpectOk(RmsNorm(ctx, in, weight.view().data, 1e-5f, out.view(), c.add));
      EXPECT_TRUE(out.Intact());
      for (int64_t i = 0; i < c.n; ++i) {
        for (int64_t k = 0; k < c.d; ++k) {
          const double base = c.add ? out0.at(i, k) : 0.0, y = want[i * c.d + k];
          // The sum's error grows with the elements per lane at worst; half of it reaches the root.
          const double bound = test::kEpsilon * (std::abs(y) * (4 + static_cast<double>(c.d) / 4) + std::abs(base));
          ASSERT_NEAR(out.at(i, k), base + y, bound) << c.n << "x" << c.d;
        }
      }
      if (threads == 1) first = out;
      EXPECT_TRUE(first == out);
    }
  }
}

TEST_P(RmsNormKernels, ARowDoesNotDependOnItsPlace) {
  Rng rng("rms_norm rows");
  Matrix x = Matrix::Random(rng, 150, 300), weight = Matrix::Random(rng, 1, 300), whole(150, 300), single(150, 300);
  TestContext ctx(2);
  ExpectOk(RmsNorm(ctx, x.view(), weight.view().data, 1e-6f, whole.view()));
  for (int64_t i = 0; i < 150; ++i) {
    ExpectOk(RmsNorm(ctx, x.Rows(i, 1), weight.view().data, 1e-6f, single.Rows(i, 1)));
  }
  EXPECT_TRUE(whole == single);
}

TEST_P(RmsNormKernels, ZerosStayZeros) {
  TestContext ctx(1);
  Matrix x(1, 20), out(1, 20);
  std::fill_n(x.view().data, 20, 0.0f);
  const std::vector<float> weight(20, 3.0f);
  ExpectOk(RmsNorm(ctx, x.view(), weight.data(), 1e-6f, out.view()));
  for (int k = 0; k < 20; ++k) EXPECT_EQ(out.at(0, k), 0.0f);
}

TEST(RmsNormTest, RefusesWrongArguments) {
  TestContext ctx(1);
  Matrix x(2, 4), other(2, 5);
  const float weight[4] = {};
  ExpectInvalid(RmsNorm(ctx, x.view(), weight, 1e-5f, other.view()), "expected [2, 4]");
  ExpectInvalid(RmsNorm(ctx, x.view(), nullptr, 1e-5f, x.view()), "weight is null");
  ExpectInvalid(RmsNorm(ctx, x.view(), weight, -1.0f, x.view()), "eps");
  ExpectInvalid(RmsNorm(ctx, x.view(), weight, std::nanf(""), x.view()), "eps");
  ExpectInvalid(RmsNorm(ctx, {x.view().data, 2, 0, 0}, weight, 1e-5f, x.view()), "no columns");
}

}  // namespace
}  // namespace arkvale
