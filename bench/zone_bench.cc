// ZoneAttention beside exact attention over as many tokens, and together with the estimate that chooses its pages.
#include <algorithm>

#include "base/clock.h"
#include "bench/bench_util.h"
#include "ops/digest.h"
#include "ops/paged_attention.h"
#include "ops/paged_attention_cases_test_util.h"
#include "ops/reference_attention.h"
#include "ops/zone_attention.h"
#include "ops/zone_cases_test_util.h"

namespace arkvale::bench {
namespace {

using test::ZoneCase;
using test::ZonePages;

// Random numbers are slow to make: pages from here on repeat the first ones, in memory of their own.
constexpr int64_t kDistinctPages = 64;
constexpr int32_t kPage = 32;

struct Case {
  ZoneCase shape;  // of a kv head; heads: query heads that read it
  int32_t kv_heads = 1;
  int32_t share = 1;  // the zone holds every share-th page
  bool keys = false;  // scores of keys are left by the estimate
};

// One layer's codes, a zone that is the same for all its kv heads, and room for what the ops write.
class Layer {
 public:
  Layer(const OpContext& ctx, const Case& c) : case_(c), n_pages_(c.shape.n_pages) {
    ZoneCase distinct = c.shape;
    distinct.n_pages = std::min(n_pages_, kDistinctPages);
    heads_.assign(c.kv_heads, ZonePages(ctx, distinct, 1));
    for (ZonePages& head : heads_) {
      Repeat(head.keys.vectors, n_pages_ * head.keys.layout.vector_bytes);
      for (auto& plane : head.keys.planes) Repeat(plane, n_pages_ * head.keys.layout.plane_bytes);
      Repeat(head.values.bytes, n_pages_ * head.values.layout.page_bytes);
      head.shape.n_pages = head.keys.n_pages = n_pages_;
    }
    for (int64_t page = 0; page < n_pages_; ++page) {
      if (page % c.share == 0) zone_.push_back(static_cast<int32_t>(page));
    }
    Rng rng("bench/zone");
    const int64_t n_q = c.shape.heads;
    for (int32_t h = 0; h < c.kv_heads; ++h) {
      q_.push_back(test::RandomVector(rng, n_q * c.shape.dk, 4.0f));
      out_.emplace_back(n_q * c.shape.dv);
      lse_.emplace_back(n_q);
      scores_.emplace_back(n_q * n_pages_);
      key_scores_.emplace_back(c.keys ? n_q * n_pages_ * c.shape.p : 0);
    }
    for (int32_t h = 0; h < c.kv_heads; ++h) {
      score_items_.push_back(heads_[h].keys.Item(q_[h], scores_[h].data()));
      zone_items_.push_back(heads_[h].Item(q_[h].data(), zone_, out_[h].data(), lse_[h].data()));
      if (!c.keys) continue;
      score_items_[h].key_scores = key_scores_[h].data();
      zone_items_[h].key_scores = key_scores_[h].data();
    }
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  bool Estimate(const OpContext& ctx) const {
    return DigestScore(ctx, heads_[0].keys.Args(case_.shape.heads, score_items_)).ok();
  }
  bool Attend(const OpContext& ctx) const { return ZoneAttention(ctx, heads_[0].Args(zone_items_, 0)).ok(); }

  // Of the last kv head, for a few pages of the zone: the reference takes its time.
  bool IsRight(benchmark::State& state, const OpContext& ctx) {
    if (!Estimate(ctx) || !Attend(ctx)) return Failed(state);
    std::vector<int32_t> few, known;  // known: the same pages among the distinct ones
    const size_t stride = std::max<size_t>(1, zone_.size() / 16);
    for (size_t i = 0; i < zone_.size(); i += stride) {
      few.push_back(zone_[i]);
      known.push_back(static_cast<int32_t>(zone_[i] % kDistinctPages));
    }
    ZoneAttentionItem item = zone_items_.back();
    item.pages = few;
    const ZonePages& head = heads_.back();
    if (!ZoneAttention(ctx, head.Args({&item, 1}, 0)).ok()) return Failed(state);
    for (int32_t h = 0; h < case_.shape.heads; ++h) {
      const auto want = head.Wanted(test::Query(q_.back(), h, case_.shape.dk), known, 0);
      if (!Near(state, lse_.back()[h], want.exact.lse, want.lse_bound)) return false;
      for (int32_t t = 0; t < case_.shape.dv; ++t) {
        if (!Near(state, out_.back()[h * case_.shape.dv + t], want.exact.out[t], want.out_bound[t])) return false;
      }
    }
    return true;
  }

  // Tokens of the zone, all kv heads together.
  int64_t ZoneTokens() const { return std::ssize(zone_) * case_.shape.p * case_.kv_heads; }
  int64_t AllTokens() const { return n_pages_ * case_.shape.p * case_.kv_heads; }
  double ZoneBytes() const {
    const test::Digests& keys = heads_[0].keys;
    const int64_t of_keys =
        case_.keys ? case_.shape.heads * case_.shape.p * int64_t{sizeof(float)} : keys.layout.bytes();
    return static_cast<double>(std::ssize(zone_) * case_.kv_heads * (of_keys + heads_[0].values.layout.page_bytes));
  }
  double EstimateBytes() const {
    return static_cast<double>(n_pages_ * case_.kv_heads * heads_[0].keys.layout.bytes());
  }

 private:
  static bool Failed(benchmark::State& state) {
    state.SkipWithError("the op failed");
    return false;
  }

  const Case case_;
  const int64_t n_pages_;
  std::vector<ZonePages> heads_;
  std::vector<int32_t> zone_;
  std::vector<std::vector<float>> q_, out_, lse_, scores_, key_scores_;  // per kv head
  std::vector<DigestScoreItem> score_items_;
  std::vector<ZoneAttentionItem> zone_items_;
};

// Time over `tokens`.
void ReportTokens(benchmark::State& state, int64_t tokens) {
  state.counters["s/token"] = benchmark::Counter(
      static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void RunZone(benchmark::State& state, const Case& c) {
  const test::Machine machine(Threads());
  Layer layer(machine.ctx, c);
  if (!layer.IsRight(state, machine.ctx)) return;
  for (auto _ : state) {
    benchmark::DoNotOptimize(layer.Attend(machine.ctx));
    benchmark::ClobberMemory();
  }
  Report(state, layer.ZoneBytes(), 0);
  ReportTokens(state, layer.ZoneTokens());
}

// A step's two passes over codes, by turns with and without scores of keys that the first leaves for the second: what
// is timed is without; `keys` is the median of the quotients, below 1 where the scores are worth leaving.
void RunEstimateAndZone(benchmark::State& state, const Case& c) {
  const test::Machine machine(Threads());
  Case with = c;
  with.keys = true;
  Layer layer(machine.ctx, c), left(machine.ctx, with);
  if (!layer.IsRight(state, machine.ctx) || !left.IsRight(state, machine.ctx)) return;
  const auto seconds = [&](const Layer& of) {
    const int64_t start = NowNs();
    benchmark::DoNotOptimize(of.Estimate(machine.ctx));
    benchmark::DoNotOptimize(of.Attend(machine.ctx));
    benchmark::ClobberMemory();
    return static_cast<double>(NowNs() - start) * 1e-9;
  };
  std::vector<double> quotients;
  for (auto _ : state) {
    const double without = seconds(layer);
    quotients.push_back(seconds(left) / without);
    state.SetIterationTime(without);
  }
  Report(state, layer.EstimateBytes() + layer.ZoneBytes(), 0);
  ReportTokens(state, layer.AllTokens());
  std::nth_element(quotients.begin(), quotients.begin() + std::ssize(quotients) / 2, quotients.end());
  state.counters["keys"] = quotients[quotients.size() / 2];
}

// Exact attention over as many tokens in pages of f16.
void RunExact(benchmark::State& state, const Case& c) {
  const ZoneCase& s = c.shape;
  const test::Machine machine(Threads());
  std::vector<test::RowSpec> rows;
  for (int32_t h = 0; h < c.kv_heads; ++h) rows.push_back(test::At(test::DenseRow(s.n_pages * s.p, s.p), h));
  test::FakeCache cache({.page_tokens = s.p, .heads_per_block = c.kv_heads, .dk = s.dk, .dv = s.dv}, rows, 1);
  const PagedKv kv = cache.kv();
  std::vector<float> q = test::RandomVector(cache.rng(), int64_t{c.kv_heads} * s.heads * s.dk, 1.0f);
  std::vector<float> out(int64_t{c.kv_heads} * s.heads * s.dv);
  std::vector<const float*> qs;
  std::vector<float*> outs;
  for (int32_t h = 0; h < c.kv_heads; ++h) {
    qs.push_back(q.data() + int64_t{h} * s.heads * s.dk);
    outs.push_back(out.data() + int64_t{h} * s.heads * s.dv);
  }
  const PagedAttentionArgs args{.kv = kv,
                                .q_heads_per_kv_head = s.heads,
                                .scale = 1.0f / std::sqrt(static_cast<float>(s.dk)),
                                .q = qs.data(),
                                .out = outs.data()};
  if (!PagedAttention(machine.ctx, args).ok()) return state.SkipWithError("the op failed");
  const auto want = reference::Attend(kv, 0, 0, q.data(), args.scale);
  const double bound = 4e-7 * (8 + want.top * std::sqrt(s.dk)) * want.largest_value;
  for (int32_t t = 0; t < s.dv; ++t) {
    if (!Near(state, out[t], want.out[t], bound)) return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(PagedAttention(machine.ctx, args).ok());
    benchmark::ClobberMemory();
  }
  const int64_t tokens = int64_t{c.kv_heads} * s.n_pages * s.p;
  Report(state, static_cast<double>(tokens * (KeyRowBytes(kv) + ValueRowBytes(kv))), 0);
  ReportTokens(state, tokens);
}

template <typename Run>
void Register(const std::string& name, const Run& run, const Case& c) {
  benchmark::RegisterBenchmark((name + (c.keys ? "_keys" : "")).c_str(), run, c)->UseRealTime();
}

void RegisterModel(const ModelHeads& m, int64_t k_tokens) {
  const std::string model = std::string("model/") + m.name + "_" + std::to_string(k_tokens) + "k/";
  Case c{.shape = {.type = DigestType::kF16,
                   .p = kPage,
                   .dk = m.head_dim,
                   .dv = m.head_dim,
                   .heads = m.gqa,
                   .n_pages = k_tokens * 1024 / kPage},
         .kv_heads = m.kv_heads};
  Register("zone_attention/" + model + "exact_f16", RunExact, c);
  for (const int32_t bits : {2, 4}) {
    c.shape.bits = bits;
    for (const bool keys : {false, true}) {
      c.keys = keys;
      Register("zone_attention/" + model + "v" + std::to_string(bits), RunZone, c);
    }
  }
  c.shape.bits = 2;
  c.keys = false;
  for (const int32_t share : {1, 2, 3, 4, 5, 6, 8, 12, 32}) {
    c.share = share;
    const std::string name = "estimate_and_zone/" + model + "1_of_" + std::to_string(share);
    benchmark::RegisterBenchmark(name.c_str(), RunEstimateAndZone, c)->UseManualTime();
  }
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const ZoneCase& shape : test::ZoneCases()) {
    for (const bool keys : {false, true}) {
      Register(std::string("zone_attention/test/") + shape.name, RunZone, {.shape = shape, .keys = keys});
    }
  }
  for (const ModelHeads& m : kModelHeads) {
    for (const int64_t k_tokens : {7, 32}) RegisterModel(m, k_tokens);
  }
  return true;
}();

}  // namespace
}  // namespace arkvale::bench
