#include <optional>

#include "bench/bench_util.h"
#include "ops/paged_attention.h"
#include "ops/paged_attention_cases_test_util.h"
#include "ops/quantised_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale::bench {
namespace {

using test::At;
using test::DenseRow;
using test::PagedAttentionCase;

// A decode step of one layer: dense over 8k tokens in blocks, and 1k tokens of pages of one group.
std::vector<PagedAttentionCase> ModelCases() {
  std::vector<PagedAttentionCase> cases;
  const auto add = [&](const char* name, int32_t kv_heads, int32_t gqa, int32_t dim, int32_t page, int64_t n_tokens) {
    cases.push_back(
        {name,
         {.page_tokens = page, .heads_per_block = kv_heads, .heads_per_row = kv_heads, .dk = dim, .dv = dim},
         gqa,
         {DenseRow(n_tokens, page)}});
  };
  add("smollm2_8k", 3, 3, 64, 64, 8192);
  add("gemma3_270m_8k", 1, 4, 256, 64, 8192);
  add("llama_8b_8k", 8, 4, 128, 64, 8192);
  cases.push_back({"smollm2_pages_1k",
                   {.page_tokens = 32, .heads_per_block = 3},
                   3,
                   {At(DenseRow(1024, 32), 0), At(DenseRow(1024, 32), 1), At(DenseRow(1024, 32), 2)}});
  return cases;
}

// Inputs and outputs of a call.
struct Call {
  Call(const PagedAttentionCase& c, const PagedKv& cache, Rng& rng) : kv(cache) {
    const int64_t heads = int64_t{kv.heads_per_row} * c.gqa;
    q_values = test::RandomVector(rng, kv.n_rows * heads * kv.head_dim_k, 1.0f);
    out_values.resize(static_cast<size_t>(kv.n_rows * heads * kv.head_dim_v));
    for (int64_t r = 0; r < kv.n_rows; ++r) {
      q.push_back(q_values.data() + r * heads * kv.head_dim_k);
      out.push_back(out_values.data() + r * heads * kv.head_dim_v);
    }
    args = {.kv = kv,
            .q_heads_per_kv_head = c.gqa,
            .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim_k)),
            .q = q.data(),
            .out = out.data()};
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  PagedKv kv;
  std::vector<float> q_values, out_values;
  std::vector<const float*> q;
  std::vector<float*> out;
  PagedAttentionArgs args;
};

// Tokens that all rows read together.
int64_t TokensRead(const PagedAttentionCase& c) {
  int64_t n = 0;
  for (const test::RowSpec& row : c.rows) {
    const auto pages = static_cast<int64_t>(row.page_positions.size());
    if (pages > 0) n += (pages - 1) * c.shape.page_tokens + row.last_page_tokens - row.first_page_skip;
  }
  return n;
}

void RunPagedAttention(benchmark::State& state, const PagedAttentionCase& c, DType dtype) {
  test::CacheShape shape = c.shape;
  shape.dtype = IsQuantised(dtype) ? DType::kF32 : dtype;
  test::FakeCache cache(shape, c.rows, 1);
  std::optional<test::QuantisedTwin> twin;
  if (IsQuantised(dtype)) twin.emplace(cache, dtype);
  Call call(c, twin ? twin->kv() : cache.kv(), cache.rng());
  test::Machine machine(Threads());
  if (!PagedAttention(machine.ctx, call.args).ok()) return state.SkipWithError("the op failed");
  const auto want = reference::Attend(call.kv, 0, 0, call.q[0], call.args.scale);
  const double bound = 4e-7 * (8 + want.top * std::sqrt(call.kv.head_dim_k)) * want.largest_value;
  for (int32_t t = 0; t < call.kv.head_dim_v; ++t) {
    if (!Near(state, call.out[0][t], want.out[static_cast<size_t>(t)], bound)) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(PagedAttention(machine.ctx, call.args).ok());
    benchmark::ClobberMemory();
  }
  const auto reads = static_cast<double>(TokensRead(c) * c.shape.heads_per_row);
  const double per_head = c.shape.dk + c.shape.dv;
  Report(state, reads * static_cast<double>(KeyRowBytes(call.kv) + ValueRowBytes(call.kv)),
         2 * reads * per_head * c.gqa);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const PagedAttentionCase& c : test::PagedAttentionCases()) {
    const std::string name = std::string("paged_attention/test/") + c.name;
    benchmark::RegisterBenchmark(name.c_str(), RunPagedAttention, c, c.shape.dtype)->UseRealTime();
  }
  for (const PagedAttentionCase& c : ModelCases()) {
    for (const DType dtype : {DType::kF16, DType::kQ8, DType::kQ4}) {
      const std::string name = std::string("paged_attention/model/") + c.name + "/" + std::string(DTypeName(dtype));
      benchmark::RegisterBenchmark(name.c_str(), RunPagedAttention, c, dtype)->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
