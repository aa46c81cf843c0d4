// A tiny transformer's worth of q, k and v without a transformer: values depend only on (seed, layer, position), so
// that the right answer of any schedule of batches is known.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/f16.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kv/cache.h"
#include "ops/op_table.h"

namespace arkvale {

struct CacheTestRig {
  explicit CacheTestRig(KvShape s, int threads = 2) : shape(std::move(s)), pool(threads), workspace(threads) {}

  OpContext ctx() { return {.ops = &CpuOps(), .pool = &pool, .workspace = &workspace}; }
  std::unique_ptr<KvCache> Make(Device* hot = nullptr, int64_t host_limit = 64 << 20, int64_t hot_limit = 0) {
    context = ctx();
    auto made = KvCache::Make(
        {.shape = shape, .tier = {hot}, .host_limit_bytes = host_limit, .hot_limit_bytes = hot_limit}, context);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return std::move(*made);
  }

  // Row of `width` values for (what, seed, layer, position), in [-1, 1), with keys that repeat themes so that pages
  // differ.
  static std::vector<float> Values(const char* what, int seed, int layer, int64_t position, int width) {
    Rng rng(std::string(what) + "/" + std::to_string(seed) + "/" + std::to_string(layer) + "/" +
            std::to_string(position));
    Rng theme(std::string("theme/") + std::to_string((position / 24) % 7));
    std::vector<float> row(width);
    for (float& x : row) x = 0.6f * rng.Uniform(-1, 1) + 1.5f * theme.Uniform(-1, 1);
    return row;
  }

  KvShape shape;
  ThreadPool pool;
  Workspace workspace;
  OpContext context;
};

// One item of a batch as a test writes it: sequence, its seed, how many tokens, which phase.
struct TestItem {
  SeqId seq;
  int seed = 0;
  int32_t n = 1;
  KvPhase phase = KvPhase::kStep;
};

// Runs one batch over all layers; result: out rows of every layer, [layer][row].
inline Result<std::vector<std::vector<std::vector<float>>>> RunBatch(CacheTestRig& rig, KvCache& cache,
                                                                     const std::vector<TestItem>& items,
                                                                     bool commit = true) {
  std::vector<KvBatchItem> batch;
  std::vector<std::pair<int, int64_t>> rows;  // seed, position
  for (const TestItem& item : items) {
    batch.push_back({item.seq, item.n, item.phase});
    for (int32_t i = 0; i < item.n; ++i) rows.push_back({item.seed, cache.n_tokens(item.seq) + i});
  }
  ARKVALE_RETURN_IF_ERROR(cache.Begin(batch));
  std::vector<std::vector<std::vector<float>>> result;
  for (int32_t l = 0; l < rig.shape.n_layers(); ++l) {
    const KvLayerShape& s = rig.shape.layers[l];
    const int widths[] = {s.n_q_heads * s.head_dim_k, s.n_kv_heads * s.head_dim_k, s.n_kv_heads * s.head_dim_v};
    const char* names[] = {"q", "k", "v"};
    std::vector<float> data[3];
    for (int m = 0; m < 3; ++m) {
      for (const auto& [seed, position] : rows) {
        const auto row = CacheTestRig::Values(names[m], seed, l, position, widths[m]);
        data[m].insert(data[m].end(), row.begin(), row.end());
      }
    }
    const auto n = static_cast<int64_t>(rows.size());
    const int out_width = s.n_q_heads * s.head_dim_v;
    std::vector<float> out(n * out_width, -77.0f);
    Status status =
        cache.Append(l, {data[1].data(), n, widths[1], widths[1]}, {data[2].data(), n, widths[2], widths[2]});
    if (status.ok())
      status = cache.Attend(l, {data[0].data(), n, widths[0], widths[0]}, {out.data(), n, out_width, out_width});
    if (!status.ok()) {
      cache.Abort();
      return status;
    }
    auto& layer = result.emplace_back();
    for (int64_t i = 0; i < n; ++i) layer.emplace_back(out.begin() + i * out_width, out.begin() + (i + 1) * out_width);
  }
  if (commit) {
    ARKVALE_RETURN_IF_ERROR(cache.Commit());
  } else {
    cache.Abort();
  }
  return result;
}

// Dense causal attention of one position in doubles over K and V as the cache stores them (f16).
inline std::vector<double> DenseRow(const KvLayerShape& s, int layer, int seed, int64_t position) {
  const auto q = CacheTestRig::Values("q", seed, layer, position, s.n_q_heads * s.head_dim_k);
  const int64_t from = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  std::vector<std::vector<float>> keys, values;
  for (int64_t t = from; t <= position; ++t) {
    keys.push_back(CacheTestRig::Values("k", seed, layer, t, s.n_kv_heads * s.head_dim_k));
    values.push_back(CacheTestRig::Values("v", seed, layer, t, s.n_kv_heads * s.head_dim_v));
  }
  std::vector<double> out(s.n_q_heads * s.head_dim_v, 0.0);
  for (int h = 0; h < s.n_q_heads; ++h) {
    const int kv = h / s.q_per_kv();
    std::vector<double> score(keys.size());
    double top = -1e300, sum = 0;
    for (size_t t = 0; t < keys.size(); ++t) {
      for (int d = 0; d < s.head_dim_k; ++d) {
        score[t] += double{q[h * s.head_dim_k + d]} * F16ToF32(F32ToF16(keys[t][kv * s.head_dim_k + d]));
      }
      score[t] *= s.scale;
      if (s.softcap > 0) score[t] = s.softcap * std::tanh(score[t] / s.softcap);
      top = std::max(top, score[t]);
    }
    for (double& x : score) sum += x = std::exp(x - top);
    for (size_t t = 0; t < keys.size(); ++t) {
      for (int d = 0; d < s.head_dim_v; ++d) {
        out[h * s.head_dim_v + d] += score[t] / sum * F16ToF32(F32ToF16(values[t][kv * s.head_dim_v + d]));
      }
    }
  }
  return out;
}

inline double MaxDifference(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double diff = std::abs(a[i] - b[i]);
    if (!(diff <= worst)) worst = diff;  // a NaN is the worst of all
  }
  return worst;
}

// Layers: 0 dense under the default of tests (dense_layers = 1), 1 and 2 managed, 3 sliding.
inline KvShape TestShape() {
  const KvLayerShape full{.n_q_heads = 6, .n_kv_heads = 2, .head_dim_k = 16, .head_dim_v = 16, .scale = 0.25f};
  KvLayerShape sliding = full;
  sliding.window = 40;
  return {{full, full, full, sliding}};
}

inline KvOptions TestOptions(int64_t budget, int32_t page = 8) {
  KvOptions o;
  o.budget_tokens = budget;
  o.page_tokens = page;
  o.dense_layers = 1;
  o.digest = DigestKind::kCuboidMean;
  o.topk.kind = TopkRule::Kind::kPaper;
  return o;
}

}  // namespace arkvale
