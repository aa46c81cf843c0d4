// Policies that drop single tokens, in doubles and from their definitions (algorithms 8), over the synthetic K and V of
// cache_test_util.h: sets of positions per kv head, nothing of the cache's.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "kv/cache_test_util.h"
#include "ops/quantised_test_util.h"

namespace arkvale {

class TokenReference {
 public:
  // `layer` is managed layer `index` of `n_managed`.
  TokenReference(const KvShape& shape, const KvOptions& options, int layer, int seed, int index, int n_managed)
      : s_(shape.layers[layer]),
        dtype_(shape.dtype),
        o_(options),
        budget_(o_.layer_budget_tokens.empty() || o_.layer_budget_tokens[layer] == 0 ? o_.budget_tokens
                                                                                     : o_.layer_budget_tokens[layer]),
        layer_(layer),
        seed_(seed),
        index_(index),
        n_managed_(n_managed),
        held_(s_.n_kv_heads) {}

  // One forward pass of n tokens; the rows of the attention's output.
  std::vector<std::vector<double>> Run(int32_t n, bool is_step, bool ends_prefill) {
    const int64_t first = n_tokens_;
    for (auto& head : held_) {
      for (int32_t i = 0; i < n; ++i) head[first + i] = 0.0;
    }
    n_tokens_ += n;
    std::vector<std::vector<double>> out;
    for (int32_t i = 0; i < n; ++i) {
      out.emplace_back(s_.n_q_heads * s_.head_dim_v, 0.0);
      const bool last = i + 1 == n;
      const bool counts = is_step || o_.h2o_init == H2oInit::kFull || (ends_prefill && last);
      for (int h = 0; h < s_.n_q_heads; ++h) {
        const auto row = Row(h, first + i);
        for (const auto& [t, weight] : row) {
          AddValue(h, t, weight, out.back());
          if (counts) held_[h / s_.q_per_kv()][t] += weight / s_.q_per_kv();
        }
      }
    }
    if (is_step || ends_prefill) Drop(is_step);
    return out;
  }

  int64_t n_held() const { return static_cast<int64_t>(held_[0].size()); }

 private:
  using Scores = std::map<int64_t, double>;  // by position

  std::vector<double> Rounded(const char* what, int64_t t, int head, int heads, int dim) const {
    const auto row = CacheTestRig::Values(what, seed_, layer_, t, heads * dim);
    std::vector<float> own(row.begin() + head * dim, row.begin() + (head + 1) * dim);
    if (IsQuantised(dtype_)) {
      test::QuantiseRows(dtype_, own.data(), 1, dim);
    } else {
      for (float& x : own) x = F16ToF32(F32ToF16(x));
    }
    return {own.begin(), own.end()};
  }
  const std::vector<double>& Cached(const char* what, int64_t t, int head, int dim) {
    auto& row = known_[{what[0], t * s_.n_kv_heads + head}];
    if (row.empty()) row = Rounded(what, t, head, s_.n_kv_heads, dim);
    return row;
  }

  // Softmax row of query head h at position t over what its kv head holds up to t.
  Scores Row(int h, int64_t at) {
    auto& q = queries_[at];
    if (q.empty()) q = CacheTestRig::Values("q", seed_, layer_, at, s_.n_q_heads * s_.head_dim_k);
    const int kv = h / s_.q_per_kv();
    Scores row;
    double sum = 0;
    for (const auto& [t, unused] : held_[kv]) {
      if (t > at) continue;
      const auto& k = Cached("k", t, kv, s_.head_dim_k);
      double score = 0;
      for (int d = 0; d < s_.head_dim_k; ++d) score += double{q[h * s_.head_dim_k + d]} * k[d];
      score *= s_.scale;
      if (s_.softcap > 0) score = s_.softcap * std::tanh(score / s_.softcap);
      sum += row[t] = std::exp(score);
    }
    for (auto& [t, weight] : row) weight /= sum;
    return row;
  }
  void AddValue(int h, int64_t t, double weight, std::vector<double>& out) {
    const auto& v = Cached("v", t, h / s_.q_per_kv(), s_.head_dim_v);
    for (int d = 0; d < s_.head_dim_v; ++d) out[h * s_.head_dim_v + d] += weight * v[d];
  }

  // Leaves the `n` of the head that score best.
  static void LeaveBest(Scores& head, const Scores& score, int64_t n) {
    std::vector<int64_t> order;
    for (const auto& [t, unused] : head) order.push_back(t);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score.at(a) > score.at(b); });
    for (size_t i = n; i < order.size(); ++i) head.erase(order[i]);
  }

  void Drop(bool is_step) {
    const int64_t c = budget_, n = n_held();
    constexpr double kAlways = 1e9;
    if (o_.policy == KvPolicyKind::kStreaming && n > c) {
      for (Scores& head : held_) {
        std::vector<int64_t> t;
        for (const auto& [position, unused] : head) t.push_back(position);
        head.clear();
        for (int64_t i = 0; i < n; ++i) {
          if (i < o_.streaming_sinks || i >= n - (c - o_.streaming_sinks)) head[t[i]] = 0;
        }
      }
    }
    if (o_.policy == KvPolicyKind::kH2o && n > c) {
      for (Scores& head : held_) {
        Scores score = head;
        for (auto& [t, x] : score) x += t >= n_tokens_ - (c - c / 2) ? kAlways : 0;
        LeaveBest(head, score, c);
      }
    }
    if (o_.policy == KvPolicyKind::kTova && n > c) {
      Scores mean;
      for (int h = 0; h < s_.n_q_heads; ++h) {
        for (const auto& [t, weight] : Row(h, n_tokens_ - 1)) mean[t] += weight / s_.n_q_heads;
      }
      for (Scores& head : held_) LeaveBest(head, mean, c);
    }
    const bool snaps = o_.policy == KvPolicyKind::kSnapkv || o_.policy == KvPolicyKind::kPyramidkv;
    if (snaps && !is_step && n >= c) {
      for (int e = 0; e < s_.n_kv_heads; ++e) Snap(e, o_.snap_window + BeforeWindow(n));
    }
    if (o_.policy == KvPolicyKind::kXkv && !is_step && !has_chosen_) {
      has_chosen_ = true;
      const int64_t before = c - o_.snap_window;
      for (int e = 0; e < s_.n_kv_heads && n - o_.snap_window > before; ++e) Snap(e, before + o_.snap_window);
    }
  }

  int64_t BeforeWindow(int64_t n) const {
    const int64_t mean = budget_ - o_.snap_window;
    if (o_.policy == KvPolicyKind::kSnapkv || n_managed_ == 1 || n < 2 * mean) return mean;
    int64_t lo = mean / o_.pyramid_beta, hi = 2 * mean - lo;
    if (hi >= n - o_.snap_window) {
      hi = n - o_.snap_window;
      lo = 2 * mean - hi;
    }
    return hi - index_ * ((hi - lo) / (n_managed_ - 1));
  }

  void Snap(int e, int64_t keep) {
    std::vector<int64_t> t;
    for (const auto& [position, unused] : held_[e]) t.push_back(position);
    const auto before = static_cast<int64_t>(t.size()) - o_.snap_window;
    Scores score;
    for (size_t j = before; j < t.size(); ++j) score[t[j]] = 1e9;
    for (int h = e * s_.q_per_kv(); h < (e + 1) * s_.q_per_kv(); ++h) {
      std::vector<double> u(before, 0.0);
      for (int w = 0; w < o_.snap_window; ++w) {
        const Scores row = Row(h, t[before + w]);
        for (int64_t j = 0; j < before; ++j) u[j] += row.at(t[j]);
      }
      for (int64_t j = 0; j < before; ++j) {
        double sum = 0, top = -1;
        for (int64_t i = j - o_.snap_kernel / 2; i <= j + o_.snap_kernel / 2; ++i) {
          if (i < 0 || i >= before) continue;
          sum += u[i];
          top = std::max(top, u[i]);
        }
        score[t[j]] += o_.snap_pooling == SnapPooling::kMax ? top : sum / o_.snap_kernel;
      }
    }
    LeaveBest(held_[e], score, keep);
  }

  const KvLayerShape s_;
  const DType dtype_;
  const KvOptions o_;
  const int64_t budget_;
  const int layer_, seed_, index_, n_managed_;
  int64_t n_tokens_ = 0;
  bool has_chosen_ = false;   // xkv
  std::vector<Scores> held_;  // per kv head: position -> H2O's sum
  std::map<std::pair<char, int64_t>, std::vector<double>> known_;
  std::map<int64_t, std::vector<float>> queries_;
};

}  // namespace arkvale
