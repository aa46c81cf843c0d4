#include <cmath>

#include "bench/bench_util.h"
#include "ops/attention_mass.h"
#include "ops/prefill_attention_cases_test_util.h"
#include "ops/reference_scores.h"
#include "ops/window_scores.h"

namespace arkvale::bench {
namespace {

constexpr int32_t kPage = 64;

// Queries and cache of a model's layer: the last n tokens of a prompt.
struct Layer {
  Layer(const ModelHeads& m, int64_t n_tokens, int64_t n)
      : cache({.page_tokens = kPage,
               .heads_per_block = m.kv_heads,
               .heads_per_row = m.kv_heads,
               .dk = m.head_dim,
               .dv = m.head_dim},
              {test::DenseRow(n_tokens, kPage)}, 1),
        cols(int64_t{m.kv_heads} * m.gqa * m.head_dim),
        scale(1.0f / std::sqrt(static_cast<float>(m.head_dim))),
        q(test::RandomVector(cache.rng(), n * cols, 4.0f)) {}
  test::FakeCache cache;
  int64_t cols;
  float scale;
  std::vector<float> q;
};

void RunAttentionMass(benchmark::State& state, const ModelHeads& m, int64_t n_tokens, int64_t n) {
  Layer layer(m, n_tokens, n);
  const PagedKv& kv = layer.cache.kv();
  const int64_t heads = int64_t{m.kv_heads} * m.gqa;
  std::vector<float> lse(static_cast<size_t>(n * heads), std::log(static_cast<float>(n_tokens)));
  std::vector<float> mass(static_cast<size_t>(m.kv_heads * n_tokens));
  const AttentionMassArgs args{.kv = kv,
                               .q_heads_per_kv_head = m.gqa,
                               .scale = layer.scale,
                               .q_position0 = n_tokens - n,
                               .q = {layer.q.data(), n, layer.cols, layer.cols},
                               .lse = lse.data(),
                               .mass = mass.data(),
                               .mass_stride = n_tokens};
  test::Machine machine(Threads());
  if (!AttentionMass(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  if (n == 1) {
    const reference::Mass want = reference::AttentionMass(args);
    for (size_t i = 0; i < mass.size(); ++i) {
      if (!Near(state, mass[i], want.added[i], want.error[i] * want.added[i])) return;
    }
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(AttentionMass(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  const auto tokens = static_cast<double>(n_tokens), rows = static_cast<double>(n);
  const double pairs = rows * (tokens - (rows - 1) / 2) * static_cast<double>(heads);
  Report(state, tokens * m.kv_heads * static_cast<double>(KeyRowBytes(kv)), pairs * 2 * m.head_dim);
}

void RunWindowScores(benchmark::State& state, const ModelHeads& m, int64_t n_tokens) {
  constexpr int64_t kWindow = 8;
  Layer layer(m, n_tokens, kWindow);
  const PagedKv& kv = layer.cache.kv();
  std::vector<float> scores(static_cast<size_t>(m.kv_heads * (n_tokens - kWindow)));
  const WindowScoresArgs args{.kv = kv,
                              .q_heads_per_kv_head = m.gqa,
                              .scale = layer.scale,
                              .n_tokens = n_tokens,
                              .q = {layer.q.data(), kWindow, layer.cols, layer.cols},
                              .scores = scores.data()};
  test::Machine machine(Threads());
  if (!WindowScores(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  const reference::Window want = reference::WindowScores(args);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!Near(state, scores[i], want.scores[i], want.error * want.scores[i])) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(WindowScores(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  const double keys = static_cast<double>(n_tokens) * m.kv_heads;  // read and multiplied twice
  Report(state, 2 * keys * static_cast<double>(KeyRowBytes(kv)), 4 * keys * kWindow * m.gqa * m.head_dim);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const ModelHeads& m : kModelHeads) {
    for (const int64_t n : {1, 512}) {
      const std::string name = std::string("attention_mass/model/") + m.name + "/" + std::to_string(n) + "_of_8192";
      benchmark::RegisterBenchmark(name.c_str(), RunAttentionMass, m, 8192, n)->UseRealTime();
    }
    const std::string name = std::string("window_scores/model/") + m.name + "/8_of_8192";
    benchmark::RegisterBenchmark(name.c_str(), RunWindowScores, m, 8192)->UseRealTime();
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
