// Packed weights in the step path, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "ops/matmul.h"
#include "ops/packed_test_util.h"
#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectOk;
using test::kPackedTypes;
using test::Matrix;
using test::Packed;
using test::TestContext;
using test::Weight;

class MatmulPacked : public test::EveryTypeAndTarget {
 protected:
  // The nearest number of columns that fills spans.
  int64_t Cols(int64_t cols) const {
    const int64_t span = BlockElements(type());
    return std::max<int64_t>(1, cols / span) * span;
  }
};

INSTANTIATE_TEST_SUITE_P(Types, MatmulPacked, MatmulPacked::Values(kPackedTypes), MatmulPacked::Name);

struct Options {
  int threads = 1;
  bool add = false;
  const float* bias = nullptr;
};

// y of a step over all rows of x, with gaps between the rows of out; `out` before it is random if `add` is set.
Matrix Step(const MatrixView& x, const WeightView& w, const Options& options = {}) {
  TestContext ctx(options.threads);
  Rng rng("out");
  Matrix out = Matrix::Random(rng, x.rows, w.rows, /*gap=*/17);
  const MatmulTarget target{w, out.view(), options.add, options.bias};
  ExpectOk(Matmul(ctx, MatmulPath::kRows, x, {&target, 1}));
  EXPECT_TRUE(out.Intact());
  return out;
}

// Six standard deviations of independent roundings, uniform in a step of amax / 32767 for each x of a block; and f32's:
// at most seven of a block's products, scales and sums, and two of the chain per block, none of which exceeds three
// times w_max |x| (a code's product may be twice the weight, its offset once).
double Bound(const MatrixView& x, int64_t row, const double* weights, double w_max) {
  double variance = 0, x_sum = 0;
  for (int64_t c = 0; c < x.cols; c += 32) {
    double amax = 0, w_norm2 = 0;
    for (int64_t k = c; k < c + 32; ++k) {
      amax = std::max(amax, std::abs(static_cast<double>(x.row(row)[k])));
      x_sum += std::abs(static_cast<double>(x.row(row)[k]));
      w_norm2 += weights[k] * weights[k];
    }
    variance += amax / 32767 * amax / 32767 * w_norm2 / 12;
  }
  const double roundings = 6 * std::sqrt((7 + 2 * static_cast<double>(x.cols) / 32) / 12);
  return 6 * std::sqrt(variance) + roundings * test::kEpsilon * 3 * w_max * x_sum;
}

void ExpectNearReference(Matrix& x, const WeightView& w, const float* bias, const Matrix& out) {
  const reference::MatmulResult want = reference::Matmul(x.view(), w, bias);
  const std::vector<double> weights = reference::Dequantised(w);
  for (int64_t r = 0; r < w.rows; ++r) {
    const double* row = weights.data() + r * w.cols;
    double w_max = 0;
    for (int64_t c = 0; c < w.cols; ++c) w_max = std::max(w_max, std::abs(row[c]));
    for (int64_t i = 0; i < x.view().rows; ++i) {
      const double bound = Bound(x.view(), i, row, w_max) + test::kEpsilon * want.magnitude[i * w.rows + r];
      ASSERT_NEAR(out.at(i, r), want.y[i * w.rows + r], bound) << "row " << i << " feature " << r;
    }
  }
}

TEST_P(MatmulPacked, MatchesReference) {
  struct Shape {
    int64_t n, in, out;
  };
  for (const Shape& shape : {Shape{1, 32, 1}, Shape{2, 256, 15}, Shape{3, 576, 16}, Shape{5, 640, 17},
                             Shape{9, 1536, 50}, Shape{1, 2048, 50}, Shape{8, 96, 3}}) {
    Rng rng("packed");
    const int64_t cols = Cols(shape.in);
    const Weight w(rng, type(), shape.out, cols, /*gap_blocks=*/1);
    const Packed packed(w.view());
    Matrix x = Matrix::Random(rng, shape.n, cols, /*gap=*/5);
    // Columns of very different size, as real models have them.
    for (int64_t i = 0; i < shape.n; ++i) {
      for (int64_t c = 0; c < cols; c += 37) x.view().row(i)[c] *= 300;
    }
    ExpectNearReference(x, w.view(), nullptr, Step(x.view(), packed.view()));
    Matrix bias = Matrix::Random(rng, 1, shape.out);
    ExpectNearReference(x, w.view(), bias.view().data,
                        Step(x.view(), packed.view(), {.threads = 2, .bias = bias.view().data}));
  }
}

TEST_P(MatmulPacked, ARowDependsOnNothingElse) {
  constexpr int64_t kTokens = 9, kOut = 83;
  Rng rng("batch");
  const int64_t cols = Cols(576);
  const Weight w(rng, type(), kOut, cols);
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, kTokens, cols, /*gap=*/3);
  Matrix one_by_one(kTokens, kOut);
  for (int64_t i = 0; i < kTokens; ++i) {
    const Matrix out = Step(x.Rows(i, 1), packed.view());
    for (int64_t r = 0; r < kOut; ++r) one_by_one.view().row(i)[r] = out.at(0, r);
  }
  for (int64_t n = 1; n <= kTokens; ++n) {
    for (const int threads : {1, 2, 3}) {
      for (const int64_t first : {int64_t{0}, kTokens - n}) {
        const Matrix out = Step(x.Rows(first, n), packed.view(), {.threads = threads});
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(std::memcmp(&one_by_one.view().row(first + i)[0], &const_cast<Matrix&>(out).view().row(i)[0],
                                kOut * sizeof(float)),
                    0)
              << n << " tokens from " << first << ", " << threads << " threads, token " << i;
        }
      }
    }
  }
}

TEST_P(MatmulPacked, AddAddsToWhatWasThere) {
  Rng rng("add");
  const Weight w(rng, type(), 23, 256);
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, 6, 256);
  Matrix bias = Matrix::Random(rng, 1, 23);
  Rng out_rng("out");
  const Matrix before = Matrix::Random(out_rng, 6, 23, 17);  // as Step makes it
  const Matrix plain = Step(x.view(), packed.view());
  const Matrix biased = Step(x.view(), packed.view(), {.bias = bias.view().data});
  const Matrix added = Step(x.view(), packed.view(), {.add = true, .bias = bias.view().data});
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t r = 0; r < 23; ++r) {
      ASSERT_EQ(biased.at(i, r), plain.at(i, r) + bias.at(0, r));
      ASSERT_EQ(added.at(i, r), before.at(i, r) + biased.at(i, r));
    }
  }
}

TEST_P(MatmulPacked, SlicesOfRowsAreRows) {
  Rng rng("slice");
  const Weight w(rng, type(), 70, 256);
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, 2, 256);
  const Matrix whole = Step(x.view(), packed.view());
  for (const auto& [begin, n] : {std::pair<int64_t, int64_t>{0, 16}, {16, 31}, {48, 22}, {64, 6}}) {
    const Matrix slice = Step(x.view(), RowSlice(packed.view(), begin, n));
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t r = 0; r < n; ++r) ASSERT_EQ(slice.at(i, r), whole.at(i, begin + r));
    }
  }
}

TEST_P(MatmulPacked, WhatIsNotFiniteStaysInItsRow) {
  Rng rng("nan");
  const Weight w(rng, type(), 19, 256);
  const Packed packed(w.view());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const int64_t column : {0, 13, 31, 255}) {
      Matrix x = Matrix::Random(rng, 6, 256);
      x.view().row(2)[column] = bad;
      const Matrix out = Step(x.view(), packed.view());
      for (int64_t i = 0; i < 6; ++i) {
        for (int64_t r = 0; r < 19; ++r) ASSERT_EQ(std::isfinite(out.at(i, r)), i != 2) << i << " " << r;
      }
    }
  }
}

TEST_P(MatmulPacked, TinyAndHugeInputsKeepTheirScale) {
  Rng rng("scale");
  const Weight w(rng, type(), 5, 256);
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, 4, 256);
  for (int64_t c = 0; c < 256; ++c) {
    x.view().row(0)[c] = 0;
    x.view().row(1)[c] *= 1e-42f;  // denormal: counts as 0
    x.view().row(2)[c] *= 1e-20f;
    x.view().row(3)[c] *= 1e30f;
  }
  const Matrix out = Step(x.view(), packed.view());
  const reference::MatmulResult want = reference::Matmul(x.view(), w.view());
  for (int64_t r = 0; r < 5; ++r) {
    EXPECT_EQ(out.at(0, r), 0);
    EXPECT_EQ(out.at(1, r), 0);
    for (int64_t i = 2; i < 4; ++i) EXPECT_NEAR(out.at(i, r), want.y[i * 5 + r], 1e-4 * want.magnitude[i * 5 + r]);
  }
}

// q, k and v of different types, some of them packed, in one call.
TEST_P(MatmulPacked, TargetsMayBePackedOrNot) {
  Rng rng("mixed");
  Matrix x = Matrix::Random(rng, 3, 512);
  const Weight a(rng, type(), 40, 512), b(rng, GGML_TYPE_Q8_0, 21, 512), c(rng, GGML_TYPE_F16, 9, 512),
      d(rng, GGML_TYPE_Q4_1, 130, 512);
  const Packed packed_a(a.view()), packed_d(d.view());
  const WeightView weights[] = {a.view(), packed_a.view(), b.view(), c.view(), packed_d.view()};
  Matrix joint(3, 40 + 40 + 21 + 9 + 130);
  std::vector<MatmulTarget> targets;
  int64_t column = 0;
  for (const WeightView& w : weights) {
    MatrixView out = joint.view();
    out.data += column;
    out.cols = w.rows;
    targets.push_back({w, out});
    column += w.rows;
  }
  TestContext ctx(2);
  ExpectOk(Matmul(ctx, MatmulPath::kRows, x.view(), targets));
  EXPECT_TRUE(joint.Intact());
  for (const MatmulTarget& target : targets) {
    Matrix single(3, target.weight.rows);
    const MatmulTarget alone{target.weight, single.view()};
    ExpectOk(Matmul(ctx, MatmulPath::kRows, x.view(), {&alone, 1}));
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(std::memcmp(single.view().row(i), target.out.row(i), target.weight.rows * sizeof(float)), 0);
    }
  }
}

}  // namespace
}  // namespace arkvale
