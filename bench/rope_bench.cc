#include "bench/bench_util.h"
#include "ops/reference_linear.h"
#include "ops/rope.h"
#include "ops/rope_cases_test_util.h"
#include "ops/test_util.h"

namespace arkvale::bench {
namespace {

using test::Matrix;
using test::RopeCase;

std::vector<int64_t> RandomPositions(Rng& rng, int64_t n) {
  std::vector<int64_t> positions(static_cast<size_t>(n));
  for (int64_t& p : positions) p = static_cast<int64_t>(rng.Below(8192));
  return positions;
}

// The bounds are those of the tests.
void RunRope(benchmark::State& state, const RopeCase& c, RopeKind kind) {
  Rng rng("bench/rope");
  Matrix x = Matrix::Random(rng, c.n, c.heads * c.head_dim), angles(c.n, c.n_rot);
  const test::TestContext ctx(Threads());
  if (!RopeAngles(ctx, {.kind = kind, .n_rot = c.n_rot}, RandomPositions(rng, c.n), angles.view()).ok()) {
    return state.SkipWithError("the angles failed");
  }
  const std::vector<double> want = reference::Rope(kind, c.n_rot, c.head_dim, angles.view(), x.view());
  const auto run = [&] { return Rope(ctx, kind, c.n_rot, c.head_dim, angles.view(), x.view()).ok(); };
  if (!run()) return state.SkipWithError("the op failed");
  const int64_t cols = c.heads * c.head_dim;
  for (int64_t i = 0; i < c.n * cols; ++i) {
    if (!Near(state, x.at(i / cols, i % cols), want[static_cast<size_t>(i)], 1.5 * test::kEpsilon)) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(run());
    benchmark::ClobberMemory();
  }
  const auto rotated = static_cast<double>(c.n * c.heads * c.n_rot), factors = static_cast<double>(c.n * c.n_rot);
  Report(state, (2 * rotated + factors) * sizeof(float), 3 * rotated);
}

void RunRopeAngles(benchmark::State& state, const RopeParams& params, int64_t n) {
  Rng rng("bench/rope_angles");
  const std::vector<int64_t> positions = RandomPositions(rng, n);
  const std::vector<double> want = reference::RopeAngles(params, positions);
  Matrix out(n, params.n_rot);
  const test::TestContext ctx(Threads());
  const auto run = [&] { return RopeAngles(ctx, params, positions, out.view()).ok(); };
  if (!run()) return state.SkipWithError("the op failed");
  for (int64_t i = 0; i < n * params.n_rot; ++i) {
    const int64_t row = i / params.n_rot;
    const double bound = test::kEpsilon + static_cast<double>(positions[static_cast<size_t>(row)]) * 0x1p-49;
    if (!Near(state, out.at(row, i % params.n_rot), want[static_cast<size_t>(i)], bound)) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(run());
    benchmark::ClobberMemory();
  }
  Report(state, static_cast<double>(n * params.n_rot) * sizeof(float), 0);
}

void Register(const std::string& name, const RopeCase& c, RopeKind kind) {
  const std::string shape = "/" + std::to_string(c.n) + "x" + std::to_string(c.heads) + "x" +
                            std::to_string(c.head_dim) + "_rot" + std::to_string(c.n_rot);
  const char* pairs = kind == RopeKind::kNorm ? "/norm" : "/neox";
  benchmark::RegisterBenchmark(("rope/" + name + pairs + shape).c_str(), RunRope, c, kind)->UseRealTime();
}

void RegisterAngles(const std::string& name, const RopeParams& params, int64_t n) {
  benchmark::RegisterBenchmark(
      ("rope_angles/" + name + "/" + std::to_string(n) + "x" + std::to_string(params.n_rot)).c_str(), RunRopeAngles,
      params, n)
      ->UseRealTime();
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const RopeCase& c : test::kRopeCases) {
    for (const RopeKind kind : {RopeKind::kNorm, RopeKind::kNeox}) Register("test", c, kind);
  }
  int at = 0;
  for (const RopeParams& params : test::kRopeParams) RegisterAngles("test/" + std::to_string(at++), params, 206);
  for (const ModelHeads& m : kModelHeads) {
    const RopeKind kind = m.head_dim == 256 ? RopeKind::kNeox : RopeKind::kNorm;  // gemma
    const std::string name = std::string("model/") + m.name;
    for (const int64_t n : {1, 512}) {
      for (const int64_t heads : {m.kv_heads * m.gqa, m.kv_heads}) {  // q and k
        Register(name, {n, heads, m.head_dim, m.head_dim}, kind);
      }
      RegisterAngles(name, {.kind = kind, .n_rot = m.head_dim}, n);
    }
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
