#include <algorithm>

#include "bench/bench_util.h"
#include "ops/prefill_attention.h"
#include "ops/prefill_attention_cases_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale::bench {
namespace {

using test::DenseRow;
using test::PrefillAttentionCase;

// The last chunk of 512 tokens of a prompt, one layer, dense.
PrefillAttentionCase ModelCase(const ModelHeads& m, int64_t n_tokens, int32_t window) {
  constexpr int64_t kChunk = 512;
  constexpr int32_t kPage = 64;
  return {m.name,
          {.page_tokens = kPage,
           .heads_per_block = m.kv_heads,
           .heads_per_row = m.kv_heads,
           .dk = m.head_dim,
           .dv = m.head_dim},
          m.gqa,
          n_tokens - kChunk,
          kChunk,
          window,
          {DenseRow(n_tokens, kPage)}};
}

int64_t FirstVisible(const PrefillAttentionCase& c, int64_t position) {
  return c.window == 0 ? 0 : std::max<int64_t>(0, position - c.window + 1);
}

// Listed tokens of all rows at positions [from, to].
int64_t Listed(const PrefillAttentionCase& c, int64_t from, int64_t to) {
  int64_t n = 0;
  for (const test::RowSpec& row : c.rows) {
    for (size_t i = 0; i < row.page_positions.size(); ++i) {
      const int64_t page = row.page_positions[i];
      const int64_t begin = page + (i == 0 ? row.first_page_skip : 0);
      const int64_t end = page + (i + 1 == row.page_positions.size() ? row.last_page_tokens : c.shape.page_tokens);
      n += std::max<int64_t>(0, std::min(end, to + 1) - std::max(begin, from));
    }
  }
  return n;
}

// The first and the last token's first and last head, within the tests' bounds.
bool IsRight(benchmark::State& state, const PrefillAttentionCase& c, const PrefillAttentionArgs& args) {
  const PagedKv& kv = args.kv;
  const int32_t heads = kv.n_rows * kv.heads_per_row * c.gqa;
  for (const int64_t i : {int64_t{0}, c.n - 1}) {
    for (const int32_t h : {0, heads - 1}) {
      const int64_t to = c.position0 + i;
      const int32_t kv_head = h / c.gqa;
      const auto want =
          reference::Attend(kv, kv_head / kv.heads_per_row, kv_head % kv.heads_per_row,
                            args.q.row(i) + int64_t{h} * kv.head_dim_k, args.scale, FirstVisible(c, to), to);
      const double bound = 4e-7 * (8 + want.top * std::sqrt(kv.head_dim_k)) * want.largest_value;
      for (int32_t t = 0; t < kv.head_dim_v; ++t) {
        const float got = args.out.row(i)[int64_t{h} * kv.head_dim_v + t];
        if (!Near(state, got, want.out[static_cast<size_t>(t)], bound)) return false;
      }
    }
  }
  return true;
}

void RunPrefillAttention(benchmark::State& state, const PrefillAttentionCase& c) {
  test::FakeCache cache(c.shape, c.rows, 1);
  const PagedKv& kv = cache.kv();
  const int64_t heads = int64_t{kv.n_rows} * kv.heads_per_row * c.gqa;
  const int64_t q_cols = heads * kv.head_dim_k, out_cols = heads * kv.head_dim_v;
  std::vector<float> q = test::RandomVector(cache.rng(), c.n * q_cols, 4.0f);
  std::vector<float> out(static_cast<size_t>(c.n * out_cols));
  const PrefillAttentionArgs args{.kv = kv,
                                  .q_heads_per_kv_head = c.gqa,
                                  .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k)),
                                  .q_position0 = c.position0,
                                  .window = c.window,
                                  .q = {q.data(), c.n, q_cols, q_cols},
                                  .out = {out.data(), c.n, out_cols, out_cols}};
  test::Machine machine(Threads());
  if (!PrefillAttention(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  if (!IsRight(state, c, args)) return;
  for (auto _ : state) {
    benchmark::DoNotOptimize(PrefillAttention(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  int64_t pairs = 0;  // a query token and a token it sees, per kv head of a row
  for (int64_t at = c.position0; at < c.position0 + c.n; ++at) pairs += Listed(c, FirstVisible(c, at), at);
  const int64_t read = Listed(c, FirstVisible(c, c.position0), c.position0 + c.n - 1) * kv.heads_per_row;
  const double per_pair = 2.0 * (kv.head_dim_k + kv.head_dim_v) * c.gqa * kv.heads_per_row;
  Report(state,
         static_cast<double>(read * (KeyRowBytes(kv) + ValueRowBytes(kv))) +
             static_cast<double>(q.size() + out.size()) * sizeof(float),
         static_cast<double>(pairs) * per_pair);
}

void Register(const std::string& name, const PrefillAttentionCase& c) {
  benchmark::RegisterBenchmark(("prefill_attention/" + name).c_str(), RunPrefillAttention, c)->UseRealTime();
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const PrefillAttentionCase& c : test::PrefillAttentionCases()) Register(std::string("test/") + c.name, c);
  for (const ModelHeads& m : kModelHeads) {
    const std::string name = std::string("model/") + m.name;
    for (const int64_t n_tokens : {512, 2048, 8192}) {
      Register(name + "/512_of_" + std::to_string(n_tokens), ModelCase(m, n_tokens, 0));
    }
    Register(name + "/512_of_2048_window_512", ModelCase(m, 2048, 512));
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
