// The planner on a large model and a long prompt: 80 layers x 128k tokens.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "bench/bench_util.h"
#include "plan/allocate.h"
#include "plan/gains.h"

namespace arkvale::bench {
namespace {

constexpr int32_t kLayers = 80;
constexpr int64_t kTokens = 128 * 1024;

using Lists = std::vector<std::vector<float>>;

// Scores of one kv head, of every size, and no two layers alike.
std::vector<float> Scores(Rng& rng, int64_t n) {
  const float power = rng.Uniform(1, 8);
  std::vector<float> scores(static_cast<size_t>(n));
  for (float& v : scores) v = std::pow(rng.Uniform(0, 1), power);
  return scores;
}

const Lists& Gains() {
  static const Lists lists = [] {
    Rng rng("bench/plan");
    Lists made;
    for (int32_t l = 0; l < kLayers; ++l) made.push_back(*TokenGains(Scores(rng, kTokens), 1));
    return made;
  }();
  return lists;
}

std::vector<LayerGains> Layers() {
  std::vector<LayerGains> layers;
  for (const auto& list : Gains()) layers.push_back({.gains = list});
  return layers;
}

// True where the plan took the largest gains: no gain left is larger than one taken.
bool TookTheLargest(const std::vector<LayerGains>& layers, const std::vector<int64_t>& units) {
  float least = 1, left = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto gains = layers[l].gains;
    const auto x = static_cast<size_t>(units[l]);
    if (x > 1) least = std::min(least, gains[x - 1]);
    if (x < gains.size()) left = std::max(left, gains[x]);
  }
  return left <= least;
}

void RunTotal(benchmark::State& state, double share) {
  const std::vector<LayerGains> layers = Layers();
  const auto total = static_cast<int64_t>(share * kLayers * kTokens);
  const auto plan = AllocateTotal(layers, 1, total);
  if (!plan.ok() || plan->spent != total || !TookTheLargest(layers, plan->units)) {
    return state.SkipWithError("the plan is wrong");
  }
  for (auto _ : state) benchmark::DoNotOptimize(AllocateTotal(layers, 1, total));
  Report(state, static_cast<double>(kLayers * kTokens) * sizeof(float), 0);
}

void RunRetention(benchmark::State& state, double rho) {
  const std::vector<LayerGains> layers = Layers();
  const auto plan = AllocateRetention(layers, 1, rho);
  if (!plan.ok() || plan->mean_retention() < rho - 1e-6 || !TookTheLargest(layers, plan->units)) {
    return state.SkipWithError("the plan is wrong");
  }
  for (auto _ : state) benchmark::DoNotOptimize(AllocateRetention(layers, 1, rho));
  Report(state, static_cast<double>(kLayers * kTokens) * sizeof(float), 0);
}

void RunTokenGains(benchmark::State& state, int32_t n_kv_heads) {
  Rng rng("bench/plan/gains");
  const std::vector<float> scores = Scores(rng, n_kv_heads * kTokens);
  const auto gains = TokenGains(scores, n_kv_heads);
  if (!gains.ok() || !Near(state, std::accumulate(gains->begin(), gains->end(), 0.0), 1.0, 1e-5)) return;
  for (auto _ : state) benchmark::DoNotOptimize(TokenGains(scores, n_kv_heads));
  Report(state, static_cast<double>(scores.size()) * sizeof(float), 0);
}

void RunPageGains(benchmark::State& state, int32_t n_kv_heads) {
  Rng rng("bench/plan/gains");
  const std::vector<float> scores = Scores(rng, n_kv_heads * kTokens);
  const PageGainsArgs args{
      .scores = scores, .n_kv_heads = n_kv_heads, .sink_pages = 2, .window_pages = 2, .n_prompt_tokens = kTokens + 8};
  const auto worth = PageGains(args);
  if (!worth.ok()) return state.SkipWithError("no gains");
  const double sum = std::accumulate(worth->gains.begin(), worth->gains.end(), worth->pinned_share);
  if (!Near(state, sum, 1.0, 1e-5)) return;
  for (auto _ : state) benchmark::DoNotOptimize(PageGains(args));
  Report(state, static_cast<double>(scores.size()) * sizeof(float), 0);
}

[[maybe_unused]] const bool kRegistered = [] {
  const auto add = [](const std::string& name, auto run, auto value) {
    benchmark::RegisterBenchmark(("plan/" + name).c_str(), run, value)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  add("total/80x131072_10%", RunTotal, 0.1);
  add("total/80x131072_all", RunTotal, 1.0);
  add("retention/80x131072_0.8", RunRetention, 0.8);
  add("token_gains/8x131072", RunTokenGains, 8);
  add("page_gains/8x131072", RunPageGains, 8);
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
