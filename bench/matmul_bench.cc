#include "bench/bench_util.h"
#include "ops/matmul.h"
#include "ops/matmul_cases_test_util.h"
#include "ops/packed_weight.h"
#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale::bench {
namespace {

using test::MatmulCase;

// Decode (1 and 4 rows) and prefill (512) of real models' widest layers.
constexpr MatmulCase kModelCases[] = {
    {GGML_TYPE_Q4_1, 1, 576, 1536},   {GGML_TYPE_Q4_1, 4, 576, 1536},    {GGML_TYPE_Q4_1, 512, 576, 1536},
    {GGML_TYPE_Q8_0, 1, 576, 49152},  {GGML_TYPE_Q5_0, 1, 640, 2048},    {GGML_TYPE_Q8_0, 1, 640, 262144},
    {GGML_TYPE_Q5_0, 512, 640, 2048}, {GGML_TYPE_Q4_0, 1, 4096, 14336},  {GGML_TYPE_Q4_0, 4, 4096, 14336},
    {GGML_TYPE_Q4_K, 1, 4096, 14336}, {GGML_TYPE_Q4_0, 512, 4096, 4096},
};

// One feature of the first and of the last row, which a benchmark checks in no time. The bounds are those of the
// tests, the rows' path as its coarsest rounding of x (8 bits) has it.
bool IsRight(benchmark::State& state, MatmulPath path, test::Matrix& x, const WeightView& w, const test::Matrix& out) {
  for (const int64_t i : {int64_t{0}, x.view().rows - 1}) {
    const int64_t feature = w.rows - 1;
    WeightView last = w;
    last.data = static_cast<const std::byte*>(w.data) + feature * w.row_bytes;
    last.rows = 1;
    const reference::MatmulResult want = reference::Matmul(x.Rows(i, 1), last);
    double bound = test::kEpsilon * static_cast<double>(w.cols + 1) * want.magnitude[0];
    if (path == MatmulPath::kRows) {
      double norm2 = 0, w_max = 0, x_sum = 0, x_max = 0;
      for (const double v : reference::Dequantised(last)) {
        norm2 += v * v;
        w_max = std::max(w_max, std::abs(v));
      }
      for (int64_t k = 0; k < w.cols; ++k) {
        x_max = std::max<double>(x_max, std::abs(x.at(i, k)));
        x_sum += std::abs(x.at(i, k));
      }
      bound += 0x1p-8 * want.magnitude[0] * (BlockElements(w.ggml_type) == 1 ? 1 : 0);
      bound += 6 * x_max / 127 * std::sqrt(norm2 / 12) + 0x1p-10 * w_max * x_sum;
    }
    if (!Near(state, out.at(i, feature), want.y[0], bound)) return false;
  }
  return true;
}

void RunMatmul(benchmark::State& state, const MatmulCase& c, MatmulPath path, bool packed) {
  Rng rng("bench/matmul");
  const test::Weight weight(rng, c.type, c.out, c.in);
  WeightView w = weight.view();
  std::vector<std::byte> packed_bytes;
  if (packed) {
    packed_bytes.resize(static_cast<size_t>(PackedBytes(w)));
    PackGroups(w, 0, PackedGroups(w), packed_bytes.data());
    w = PackedView(w, packed_bytes.data());
  }
  test::Matrix x = test::Matrix::Random(rng, c.n, c.in), out(c.n, c.out);
  const test::TestContext ctx(Threads());
  const MatmulTarget target{w, out.view()};
  if (!Matmul(ctx, path, x.view(), {&target, 1}).ok()) return state.SkipWithError("the op failed");
  if (!IsRight(state, path, x, weight.view(), out)) return;
  for (auto _ : state) {
    benchmark::DoNotOptimize(Matmul(ctx, path, x.view(), {&target, 1}).ok());
    benchmark::ClobberMemory();
  }
  const double floats = static_cast<double>(c.n) * static_cast<double>(c.in + c.out) * sizeof(float);
  Report(state, static_cast<double>(c.out * w.row_bytes) + floats,
         2.0 * static_cast<double>(c.n) * static_cast<double>(c.in) * static_cast<double>(c.out));
}

void Register(const char* table, const MatmulCase& c, MatmulPath path, bool packed) {
  const std::string name = std::string("matmul/") + table + (path == MatmulPath::kRows ? "/rows/" : "/tiles/") +
                           (packed ? "packed_" : "") + TypeName(c.type) + "/" + std::to_string(c.n) + "x" +
                           std::to_string(c.in) + "x" + std::to_string(c.out);
  benchmark::RegisterBenchmark(name.c_str(), RunMatmul, c, path, packed)->UseRealTime();
}

bool CanPack(const MatmulCase& c) {
  return PackedBytes({.ggml_type = c.type, .rows = c.out, .cols = c.in, .row_bytes = TypeRowBytes(c.type, c.in)}) > 0;
}

[[maybe_unused]] const bool kRegistered = [] {
  constexpr int64_t kMaxSteps = 64;  // more rows are a prefill
  for (const MatmulCase& c : test::kMatmulCases) {
    for (const MatmulPath path : {MatmulPath::kRows, MatmulPath::kTiles}) Register("test", c, path, false);
  }
  for (const MatmulCase& c : kModelCases) {
    const MatmulPath path = c.n <= kMaxSteps ? MatmulPath::kRows : MatmulPath::kTiles;
    Register("model", c, path, false);
    if (CanPack(c)) Register("model", c, path, true);
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
