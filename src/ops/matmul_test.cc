#include "ops/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <tuple>

#include "ops/matmul_cases_test_util.h"
#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using Case = test::MatmulCase;
using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::TestContext;
using test::Weight;

class MatmulKernels : public test::EveryTarget {};
INSTANTIATE_TEST_SUITE_P(Simd, MatmulKernels, MatmulKernels::Values(), MatmulKernels::Name);

using Param = std::tuple<Case, int64_t>;  // and an instruction set

std::string CaseName(const testing::TestParamInfo<Param>& info) {
  const auto& [c, target] = info.param;
  return std::string(hwy::TargetName(target)) + "_" + TypeName(c.type) + "_" + std::to_string(c.n) + "x" +
         std::to_string(c.in) + "x" + std::to_string(c.out);
}

class MatmulCases : public testing::TestWithParam<Param> {
 private:
  test::ScopedTarget target_{std::get<1>(GetParam())};
};

// Runs one target with gaps everywhere, on 1 and on 2 threads, and expects the same bits from both.
Matrix RunTarget(MatmulPath path, Matrix& x, int64_t n, const WeightView& w, bool add, const float* bias = nullptr) {
  Matrix first(0, 0);
  for (const int threads : {1, 2}) {
    TestContext ctx(threads);
    Rng rng("out");
    Matrix out = Matrix::Random(rng, n, w.rows, /*gap=*/3);
    const MatmulTarget target{w, out.view(), add, bias};
    ExpectOk(Matmul(ctx, path, x.view(), {&target, 1}));
    EXPECT_TRUE(out.Intact());
    if (threads == 1) {
      first = out;
    } else {
      EXPECT_TRUE(first == out) << "1 and 2 threads differ";
    }
  }
  return first;
}

TEST_P(MatmulCases, TilesMatchReference) {
  const Case& c = std::get<0>(GetParam());
  Rng rng("matmul");
  Weight w(rng, c.type, c.out, c.in, /*gap_blocks=*/1);
  Matrix x = Matrix::Random(rng, c.n, c.in, /*gap=*/5);
  const Matrix out = RunTarget(MatmulPath::kTiles, x, c.n, w.view(), /*add=*/false);
  const reference::MatmulResult want = reference::Matmul(x.view(), w.view());
  // A chain of k fused operations, each off by half an ulp of a partial sum that never exceeds the sum of |x w|.
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t r = 0; r < c.out; ++r) {
      const double bound = 0.5 * test::kEpsilon * static_cast<double>(c.in + 1) * want.magnitude[i * c.out + r];
      ASSERT_NEAR(out.at(i, r), want.y[i * c.out + r], bound) << "row " << i << " feature " << r;
    }
  }
}

// 8-bit (or 16-bit) rounding of x: uniform errors of a step of amax/127 per element, independent of the weights.
TEST_P(MatmulCases, RowsMatchReference) {
  const Case& c = std::get<0>(GetParam());
  Rng rng("matmul");
  Weight w(rng, c.type, c.out, c.in, /*gap_blocks=*/1);
  Matrix x = Matrix::Random(rng, c.n, c.in, /*gap=*/5);
  const Matrix out = RunTarget(MatmulPath::kRows, x, c.n, w.view(), /*add=*/false);
  const reference::MatmulResult want = reference::Matmul(x.view(), w.view());
  const std::vector<double> weights = reference::Dequantised(w.view());
  const bool quantised = BlockElements(c.type) > 1;
  for (int64_t i = 0; i < c.n; ++i) {
    double amax = 0, x_sum = 0;
    for (int64_t k = 0; k < c.in; ++k) {
      amax = std::max<double>(amax, std::abs(x.at(i, k)));
      x_sum += std::abs(x.at(i, k));
    }
    for (int64_t r = 0; r < c.out; ++r) {
      double norm2 = 0, w_max = 0;
      for (int64_t k = 0; k < c.in; ++k) {
        const double v = weights[r * c.in + k];
        norm2 += v * v;
        w_max = std::max(w_max, std::abs(v));
      }
      const double magnitude = want.magnitude[i * c.out + r];
      double bound = test::kEpsilon * static_cast<double>(c.in) * magnitude;
      if (c.type == GGML_TYPE_F16) bound += 0x1p-11 * magnitude;
      if (c.type == GGML_TYPE_BF16) bound += 0x1p-8 * magnitude;
      // Six standard deviations of the steps, and the f16 rounding of block scales and block sums.
      if (quantised) bound += 6 * amax / 127 * std::sqrt(norm2 / 12) + 0x1p-10 * w_max * x_sum;
      ASSERT_NEAR(out.at(i, r), want.y[i * c.out + r], bound) << "row " << i << " feature " << r;
    }
  }
}

TEST_P(MatmulCases, AddAddsToWhatWasThere) {
  const Case& c = std::get<0>(GetParam());
  Rng rng("matmul");
  Weight w(rng, c.type, c.out, c.in);
  Matrix x = Matrix::Random(rng, c.n, c.in);
  for (const MatmulPath path : {MatmulPath::kTiles, MatmulPath::kRows}) {
    const Matrix plain = RunTarget(path, x, c.n, w.view(), /*add=*/false);
    const Matrix added = RunTarget(path, x, c.n, w.view(), /*add=*/true);
    Rng out_rng("out");
    const Matrix before = Matrix::Random(out_rng, c.n, c.out, /*gap=*/3);
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t r = 0; r < c.out; ++r) ASSERT_EQ(added.at(i, r), before.at(i, r) + plain.at(i, r));
    }
  }
}

// The bias joins the products before they join what was there.
TEST_P(MatmulCases, BiasMatchesReference) {
  const Case& c = std::get<0>(GetParam());
  Rng rng("bias");
  Weight w(rng, c.type, c.out, c.in);
  Matrix x = Matrix::Random(rng, c.n, c.in), bias = Matrix::Random(rng, 1, c.out, 0, 30.0f);
  for (const MatmulPath path : {MatmulPath::kTiles, MatmulPath::kRows}) {
    const Matrix plain = RunTarget(path, x, c.n, w.view(), /*add=*/false);
    const Matrix biased = RunTarget(path, x, c.n, w.view(), /*add=*/false, bias.view().data);
    const Matrix added = RunTarget(path, x, c.n, w.view(), /*add=*/true, bias.view().data);
    Rng out_rng("out");
    const Matrix before = Matrix::Random(out_rng, c.n, c.out, /*gap=*/3);
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t r = 0; r < c.out; ++r) {
        ASSERT_EQ(biased.at(i, r), plain.at(i, r) + bias.at(0, r));
        ASSERT_EQ(added.at(i, r), before.at(i, r) + biased.at(i, r));
      }
    }
    if (path != MatmulPath::kTiles) continue;
    const reference::MatmulResult want = reference::Matmul(x.view(), w.view(), bias.view().data);
    for (int64_t i = 0; i < c.n * c.out; ++i) {
      const double bound = 0.5 * test::kEpsilon * static_cast<double>(c.in + 2) * want.magnitude[i];
      ASSERT_NEAR(biased.at(i / c.out, i % c.out), want.y[i], bound);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, MatmulCases,
                         testing::Combine(testing::ValuesIn(test::kMatmulCases), testing::ValuesIn(test::Targets())),
                         CaseName);

// The project's promise "a row never depends on the other rows": any chunking gives the same bits.
TEST_P(MatmulKernels, ChunksDoNotChangeARow) {
  constexpr int64_t kTokens = 600, kIn = 320, kOut = 61;
  Rng rng("chunks");
  Weight w(rng, GGML_TYPE_Q4_1, kOut, kIn);
  Matrix x = Matrix::Random(rng, kTokens, kIn, 7);
  for (const MatmulPath path : {MatmulPath::kTiles, MatmulPath::kRows}) {
    std::unique_ptr<Matrix> whole;
    for (const int64_t chunk : {kTokens, int64_t{512}, int64_t{64}, int64_t{17}, int64_t{7}, int64_t{1}}) {
      TestContext ctx(chunk % 2 == 0 ? 2 : 1);
      Matrix out(kTokens, kOut);
      for (int64_t first = 0; first < kTokens; first += chunk) {
        const int64_t n = std::min(chunk, kTokens - first);
        const MatmulTarget target{w.view(), out.Rows(first, n)};
        ExpectOk(Matmul(ctx, path, x.Rows(first, n), {&target, 1}));
      }
      if (whole == nullptr) whole = std::make_unique<Matrix>(out);
      EXPECT_TRUE(*whole == out) << "chunk " << chunk;
    }
  }
}

// A NaN in one token (or a padded lane) must not reach another one.
TEST_P(MatmulKernels, NanStaysInItsRow) {
  Rng rng("nan");
  Weight w(rng, GGML_TYPE_F32, 5, 33);
  Matrix x = Matrix::Random(rng, 6, 33);
  x.view().row(2)[4] = std::numeric_limits<float>::quiet_NaN();
  for (const MatmulPath path : {MatmulPath::kTiles, MatmulPath::kRows}) {
    const Matrix out = RunTarget(path, x, 6, w.view(), false);
    for (int64_t i = 0; i < 6; ++i) {
      for (int64_t r = 0; r < 5; ++r) EXPECT_EQ(std::isnan(out.at(i, r)), i == 2);
    }
  }
}

// q, k and v of different types in one call, written into column slices of one matrix.
TEST_P(MatmulKernels, TargetsOfDifferentTypesEqualSingleCalls) {
  constexpr int64_t kTokens = 5, kIn = 512;
  const int32_t types[] = {GGML_TYPE_Q4_K, GGML_TYPE_Q8_0, GGML_TYPE_F16, GGML_TYPE_Q6_K, GGML_TYPE_F32};
  const int64_t sizes[] = {96, 5, 48, 1, 130};
  Rng rng("targets");
  Matrix x = Matrix::Random(rng, kTokens, kIn);
  for (const MatmulPath path : {MatmulPath::kTiles, MatmulPath::kRows}) {
    std::vector<std::unique_ptr<Weight>> weights;
    std::vector<MatmulTarget> targets;
    Matrix joint(kTokens, 96 + 5 + 48 + 1 + 130);
    int64_t column = 0;
    for (int t = 0; t < 5; ++t) {
      weights.push_back(std::make_unique<Weight>(rng, types[t], sizes[t], kIn));
      MatrixView out = joint.view();
      out.data += column;
      out.cols = sizes[t];
      targets.push_back({weights.back()->view(), out});
      column += sizes[t];
    }
    TestContext ctx(2);
    ExpectOk(Matmul(ctx, path, x.view(), targets));
    EXPECT_TRUE(joint.Intact());
    for (int t = 0; t < 5; ++t) {
      Matrix single(kTokens, sizes[t]);
      const MatmulTarget target{weights[t]->view(), single.view()};
      ExpectOk(Matmul(ctx, path, x.view(), {&target, 1}));
      for (int64_t i = 0; i < kTokens; ++i) {
        EXPECT_EQ(std::memcmp(single.view().row(i), targets[t].out.row(i), sizes[t] * sizeof(float)), 0);
      }
    }
  }
}

TEST(MatmulTest, NothingToDo) {
  Rng rng("empty");
  Weight w(rng, GGML_TYPE_F32, 4, 8);
  TestContext ctx(1);
  const MatmulTarget target{w.view(), {nullptr, 0, 4, 4}};
  ExpectOk(Matmul(ctx, MatmulPath::kTiles, {nullptr, 0, 8, 8}, {&target, 1}));
  ExpectOk(Matmul(ctx, MatmulPath::kRows, {nullptr, 0, 8, 8}, {&target, 1}));
  Matrix x(2, 8);
  ExpectOk(Matmul(ctx, MatmulPath::kTiles, x.view(), {}));
}

TEST(MatmulTest, RefusesWrongArguments) {
  Rng rng("wrong");
  Weight w(rng, GGML_TYPE_Q4_0, 4, 64);
  Matrix x(2, 64), narrow(2, 32), out(2, 4), wide(2, 5);
  TestContext ctx(1);
  const auto run = [&ctx](const MatrixView& in, const WeightView& weight, const MatrixView& to) {
    const MatmulTarget target{weight, to};
    return Matmul(ctx, MatmulPath::kRows, in, {&target, 1});
  };
  ExpectInvalid(run(narrow.view(), w.view(), out.view()), "weight has 64 inputs, x has 32 columns");
  ExpectInvalid(run(x.view(), w.view(), wide.view()), "out is [2, 5], expected [2, 4]");
  ExpectInvalid(run(x.view(), w.view(), x.Rows(0, 2)), "expected [2, 4]");
  ExpectInvalid(run(x.view(), w.view(), {x.view().data, 2, 4, 64}), "overlaps");
  ExpectInvalid(run({nullptr, 2, 64, 64}, w.view(), out.view()), "no data");
  ExpectInvalid(run({x.view().data, 2, 64, 63}, w.view(), out.view()), "stride 63 < 64");
  WeightView bad = w.view();
  bad.row_bytes -= 1;
  ExpectInvalid(run(x.view(), bad, out.view()), "row_bytes");
  bad = w.view();
  bad.cols = 63;
  ExpectInvalid(run(x.view(), bad, out.view()), "no multiple of the type's block of 32");
  for (const int32_t type : {-1, 4, 31, int32_t{GGML_TYPE_COUNT}, 1 << 20, int32_t{GGML_TYPE_I32}}) {
    bad = w.view();
    bad.ggml_type = type;
    EXPECT_FALSE(MatmulSupports(type));
    ExpectInvalid(run(x.view(), bad, out.view()), "no kernel");
  }
}

TEST(MatmulTest, SupportsTheTypesOfGgufModels) {
  for (const int32_t type :
       {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
        GGML_TYPE_Q8_0, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,
        GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_IQ2_XXS}) {
    EXPECT_TRUE(MatmulSupports(type)) << TypeName(type);
  }
}

}  // namespace
}  // namespace arkvale
