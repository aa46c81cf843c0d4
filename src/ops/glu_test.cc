#include "ops/glu.h"

#include <gtest/gtest.h>

#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::TestContext;

class GluKernels : public test::EveryTarget {};
INSTANTIATE_TEST_SUITE_P(Simd, GluKernels, GluKernels::Values(), GluKernels::Name);

TEST_P(GluKernels, MatchesReference) {
  const int64_t shapes[][2] = {{0, 4}, {1, 1}, {1, 17}, {3, 31}, {2, 1536}, {65, 300}};
  for (const GluKind kind : {GluKind::kSilu, GluKind::kGelu}) {
    for (const auto& [n, d] : shapes) {
      for (const float limit : {1.0f, 12.0f, 300.0f}) {
        Rng rng("glu");
        const Matrix gate0 = Matrix::Random(rng, n, d, 2, limit);
        Matrix up = Matrix::Random(rng, n, d, 1);
        Matrix first(0, 0);
        for (const int threads : {1, 2}) {
          TestContext ctx(threads);
          Matrix gate = gate0;
          const std::vector<double> want = reference::Glu(kind, gate.view(), up.view());
          ExpectOk(Glu(ctx, kind, gate.view(), up.view(), gate.view()));
          EXPECT_TRUE(gate.Intact());
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t k = 0; k < d; ++k) {
              // exp turns an absolute error of its argument, which is cut at 80, into a relative one of the result. The
              // floor is the reference's own 1 + tanh in double.
              const double argument = std::min<double>(80, std::pow(std::abs(gate0.at(i, k)), 3) + 1);
              const double bound =
                  test::kEpsilon * (8 + 4 * argument) * std::abs(want[i * d + k]) + 0x1p-52 * std::abs(gate0.at(i, k));
              ASSERT_NEAR(gate.at(i, k), want[i * d + k], bound) << "x " << gate0.at(i, k);
            }
          }
          if (threads == 1) first = gate;
          EXPECT_TRUE(first == gate);
        }
      }
    }
  }
}

TEST_P(GluKernels, ExtremeGates) {
  const float inf = std::numeric_limits<float>::infinity();
  TestContext ctx(1);
  for (const GluKind kind : {GluKind::kSilu, GluKind::kGelu}) {
    Matrix gate(1, 6), up(1, 6), out(1, 6);
    const float values[] = {-1000.0f, 1000.0f, 0.0f, std::nanf(""), inf, -inf};
    std::copy_n(values, 6, gate.view().data);
    std::fill_n(up.view().data, 6, 2.0f);
    ExpectOk(Glu(ctx, kind, gate.view(), up.view(), out.view()));
    EXPECT_EQ(out.at(0, 0), 0.0f);
    EXPECT_EQ(out.at(0, 1), 2000.0f);
    EXPECT_EQ(out.at(0, 2), 0.0f);
    EXPECT_TRUE(std::isnan(out.at(0, 3)));
    EXPECT_EQ(out.at(0, 4), inf);
    EXPECT_EQ(out.at(0, 5), 0.0f);
  }
}

TEST(GluTest, RefusesWrongArguments) {
  TestContext ctx(1);
  Matrix a(2, 4), b(2, 5), c(3, 4);
  ExpectInvalid(Glu(ctx, GluKind::kSilu, a.view(), b.view(), a.view()), "glu: up is [2, 5], expected [2, 4]");
  ExpectInvalid(Glu(ctx, GluKind::kSilu, a.view(), a.view(), c.view()), "glu: out is [3, 4]");
}

}  // namespace
}  // namespace arkvale
