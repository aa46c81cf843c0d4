#include <algorithm>

#include "bench/bench_util.h"
#include "ops/reference_linear.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_cases_test_util.h"
#include "ops/test_util.h"

namespace arkvale::bench {
namespace {

using test::Matrix;
using test::RmsNormCase;

constexpr float kEps = 1e-5f;

// Decode and prefill of SmolLM2-135M, Gemma 3 270M (also after a block: added to the residual) and llama 8B.
constexpr RmsNormCase kModelCases[] = {
    {1, 576, false, false}, {512, 576, false, false}, {1, 640, false, false},  {512, 640, false, false},
    {1, 640, true, false},  {512, 640, true, false},  {1, 4096, false, false}, {512, 4096, false, false},
};

// The first and the last row, within the tests' bounds.
bool IsRight(benchmark::State& state, const RmsNormCase& c, Matrix& x, const float* weight, const Matrix& before,
             const Matrix& out) {
  for (const int64_t i : {int64_t{0}, c.n - 1}) {
    if (i < 0 || i >= c.n) continue;
    const std::vector<double> want = reference::RmsNorm(x.Rows(i, 1), weight, kEps);
    for (int64_t k = 0; k < c.d; ++k) {
      const double base = c.add ? before.at(i, k) : 0.0, y = want[static_cast<size_t>(k)];
      const double bound = test::kEpsilon * (std::abs(y) * (4 + static_cast<double>(c.d) / 4) + std::abs(base));
      if (!Near(state, out.at(i, k), base + y, bound)) return false;
    }
  }
  return true;
}

void RunRmsNorm(benchmark::State& state, const RmsNormCase& c) {
  Rng rng("bench/rms_norm");
  Matrix x = Matrix::Random(rng, c.n, c.d, 0, 4.0f), weight = Matrix::Random(rng, 1, c.d);
  const Matrix before = c.in_place ? x : Matrix::Random(rng, c.n, c.d);
  Matrix out = before;
  const test::TestContext ctx(Threads());
  const float* w = weight.view().data;
  const MatrixView in = c.in_place ? out.view() : x.view();
  const auto run = [&] { return RmsNorm(ctx, in, w, kEps, out.view(), c.add).ok(); };
  if (!run()) return state.SkipWithError("the op failed");
  if (!IsRight(state, c, x, w, before, out)) return;
  // A row that is normalised in place again and again must not decay to denormals.
  if (c.in_place) std::fill_n(weight.view().data, c.d, 1.0f);
  for (auto _ : state) {
    benchmark::DoNotOptimize(run());
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(c.n * c.d);
  Report(state, (elements * (c.add ? 3 : 2) + static_cast<double>(c.d)) * sizeof(float), elements * (c.add ? 5 : 4));
}

void Register(const char* table, const RmsNormCase& c) {
  const std::string name = std::string("rms_norm/") + table +
                           (c.add        ? "/add_"
                            : c.in_place ? "/in_place_"
                                         : "/") +
                           std::to_string(c.n) + "x" + std::to_string(c.d);
  benchmark::RegisterBenchmark(name.c_str(), RunRmsNorm, c)->UseRealTime();
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const RmsNormCase& c : test::kRmsNormCases) Register("test", c);
  for (const RmsNormCase& c : kModelCases) Register("model", c);
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
