#include "ops/rope.h"

#include <gtest/gtest.h>

#include "ops/reference_linear.h"
#include "ops/rope_cases_test_util.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::RopeCase;
using test::TestContext;

class RopeKernels : public test::EveryTarget {};
INSTANTIATE_TEST_SUITE_P(Simd, RopeKernels, RopeKernels::Values(), RopeKernels::Name);

TEST(RopeTest, AnglesMatchReference) {
  for (const RopeParams& params : test::kRopeParams) {
    std::vector<int64_t> positions = {0, 1, 2, 1023, 131071, 7};
    for (int64_t i = 0; i < 200; ++i) positions.push_back(i * 37);
    const std::vector<double> want = reference::RopeAngles(params, positions);
    for (const int threads : {1, 2}) {
      TestContext ctx(threads);
      Matrix out(static_cast<int64_t>(positions.size()), params.n_rot, 3);
      ExpectOk(RopeAngles(ctx, params, positions, out.view()));
      EXPECT_TRUE(out.Intact());
      for (size_t i = 0; i < positions.size(); ++i) {
        for (int j = 0; j < params.n_rot; ++j) {
          // Rounded once to f32 (magnitudes up to 2); the f64 angle itself is off by a few ulps of its size.
          const double bound = test::kEpsilon + static_cast<double>(positions[i]) * 0x1p-49;
          ASSERT_NEAR(out.at(static_cast<int64_t>(i), j), want[i * params.n_rot + j], bound) << positions[i];
        }
      }
    }
  }
}

// YaRN by hand: pair 0 as trained, pair 3 slowed down four times, pair 1 halfway.
TEST(RopeTest, YarnScalesSlowPairsOnly) {
  TestContext ctx(1);
  Matrix plain(1, 8), yarn(1, 8);
  const std::vector<int64_t> position = {100};
  ExpectOk(RopeAngles(ctx, {.n_rot = 8}, position, plain.view()));
  ExpectOk(RopeAngles(ctx,
                      {.n_rot = 8, .freq_scale = 0.25f, .yarn = true, .ramp_low = 0, .ramp_high = 2, .magnitude = 2.0f},
                      position, yarn.view()));
  EXPECT_FLOAT_EQ(yarn.at(0, 0), 2 * plain.at(0, 0));
  EXPECT_FLOAT_EQ(yarn.at(0, 2), 2 * std::cos(100 * 0.1 * (0.5 + 0.5 * 0.25)));
  EXPECT_FLOAT_EQ(yarn.at(0, 4), 2 * std::cos(100 * 0.01 * 0.25));
  EXPECT_FLOAT_EQ(yarn.at(0, 7), 2 * std::sin(100 * 0.001 * 0.25));
}

TEST_P(RopeKernels, RotationMatchesReference) {
  for (const RopeKind kind : {RopeKind::kNorm, RopeKind::kNeox}) {
    for (const RopeCase& c : test::kRopeCases) {
      Rng rng("rope");
      const Matrix x0 = Matrix::Random(rng, c.n, c.heads * c.head_dim, 5);
      std::vector<int64_t> positions(c.n);
      for (int64_t& p : positions) p = static_cast<int64_t>(rng.Below(8192));
      Matrix first(0, 0);
      for (const int threads : {1, 2}) {
        TestContext ctx(threads);
        Matrix x = x0, angles(c.n, c.n_rot, 1);
        ExpectOk(RopeAngles(ctx, {.kind = kind, .n_rot = c.n_rot}, positions, angles.view()));
        const std::vector<double> want = reference::Rope(kind, c.n_rot, c.head_dim, angles.view(), x.view());
        ExpectOk(Rope(ctx, kind, c.n_rot, c.head_dim, angles.view(), x.view()));
        EXPECT_TRUE(x.Intact());
        for (int64_t i = 0; i < c.n; ++i) {
          for (int64_t k = 0; k < c.heads * c.head_dim; ++k) {
            // Two products of at most 1 and a sum: three roundings.
            ASSERT_NEAR(x.at(i, k), want[i * c.heads * c.head_dim + k], 1.5 * test::kEpsilon);
          }
        }
        if (threads == 1) first = x;
        EXPECT_TRUE(first == x);
      }
    }
  }
}

// What RoPE is for: the product of two rotated vectors depends on the distance of their positions alone.
TEST_P(RopeKernels, ProductsDependOnDistanceOnly) {
  TestContext ctx(1);
  for (const RopeKind kind : {RopeKind::kNorm, RopeKind::kNeox}) {
    const auto product = [&](int64_t a, int64_t b) {
      Rng rng("distance");
      Matrix qk = Matrix::Random(rng, 2, 64), angles(2, 64);
      const std::vector<int64_t> positions = {a, b};
      ExpectOk(RopeAngles(ctx, {.kind = kind, .n_rot = 64}, positions, angles.view()));
      ExpectOk(Rope(ctx, kind, 64, 64, angles.view(), qk.view()));
      double sum = 0;
      for (int k = 0; k < 64; ++k) sum += static_cast<double>(qk.at(0, k)) * qk.at(1, k);
      return sum;
    };
    EXPECT_NEAR(product(105, 100), product(5, 0), 1e-5);
    EXPECT_NEAR(product(8005, 8000), product(5, 0), 1e-5);
    EXPECT_GT(std::abs(product(9, 0) - product(5, 0)), 1e-2);
  }
}

TEST(RopeTest, RefusesWrongArguments) {
  TestContext ctx(1);
  Matrix angles(2, 8), x(2, 16), odd(2, 12), short_x(1, 16);
  const std::vector<int64_t> positions = {0, 1};
  ExpectInvalid(RopeAngles(ctx, {.n_rot = 7}, positions, angles.view()), "n_rot 7");
  ExpectInvalid(RopeAngles(ctx, {.n_rot = 0}, positions, angles.view()), "n_rot 0");
  ExpectInvalid(RopeAngles(ctx, {.n_rot = 8, .freq_base = 0.0f}, positions, angles.view()), "freq_base");
  ExpectInvalid(RopeAngles(ctx, {.n_rot = 8, .ramp_low = NAN}, positions, angles.view()), "not finite");
  ExpectInvalid(RopeAngles(ctx, {.n_rot = 6}, positions, angles.view()), "expected [2, 6]");
  ExpectInvalid(Rope(ctx, RopeKind::kNorm, 8, 6, angles.view(), x.view()), "n_rot 8 > head_dim 6");
  ExpectInvalid(Rope(ctx, RopeKind::kNorm, 8, 8, angles.view(), odd.view()), "not a multiple of head_dim 8");
  ExpectInvalid(Rope(ctx, RopeKind::kNorm, 8, 8, angles.view(), short_x.view()), "expected [1, 8]");
}

}  // namespace
}  // namespace arkvale
