// What a step under a policy must give, in doubles over the synthetic K and V of cache_test_util.h: every choice made
// from scratch by the formulas of the algorithms, for the cuboid-max and code2 digests and policies that choose every
// page anew.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "kv/cache_test_util.h"
#include "ops/reference_digest.h"
#include "ops/reference_zone.h"

namespace arkvale {

struct StepReference {
  std::vector<double> out;                 // [n_q_heads * head_dim_v]
  double set_recall = 0, mass_recall = 0;  // means over groups
};

// rank-every: what a layer remembers of its last ranking of all candidates.
struct ReferenceShortlist {
  int32_t size = 0;
  bool ranks_all = true;                 // this step does
  std::vector<std::set<int32_t>> pages;  // per group
  int32_t end = 0;                       // of the candidates then
};

// One layer and position; `pinned_first` pages at the start and `pinned_last` at the end are always read, and the best
// `k` others; of those left the best `zone` are estimated from their codes (algorithms 4.4b, code2 alone).
class ReferenceStep {
 public:
  ReferenceStep(const KvLayerShape& shape, const KvOptions& options, int layer, int seed, int64_t position)
      : s_(shape), o_(options), n_tokens_(position + 1) {
    q_ = CacheTestRig::Values("q", seed, layer, position, s_.n_q_heads * s_.head_dim_k);
    for (int64_t t = 0; t < n_tokens_; ++t) {
      keys_.push_back(Rounded(CacheTestRig::Values("k", seed, layer, t, s_.n_kv_heads * s_.head_dim_k)));
      values_.push_back(Rounded(CacheTestRig::Values("v", seed, layer, t, s_.n_kv_heads * s_.head_dim_v)));
    }
    n_pages_ = static_cast<int32_t>((n_tokens_ + o_.page_tokens - 1) / o_.page_tokens);
  }

  StepReference Run(int32_t pinned_first, int32_t pinned_last, int32_t k, ReferenceShortlist* shortlist = nullptr,
                    int32_t zone = 0) {
    StepReference r;
    r.out.assign(s_.n_q_heads * s_.head_dim_v, 0.0);
    const int n_groups = s_.n_kv_heads / o_.group_heads, heads = o_.group_heads * s_.q_per_kv();
    first_ = pinned_first;
    end_ = n_pages_ - pinned_last;
    if (shortlist != nullptr) shortlist->pages.resize(n_groups);
    for (int g = 0; g < n_groups; ++g) {
      std::vector<double> score(n_pages_, 0.0), truth(n_pages_, 0.0);
      Candidates all(end_ - first_);
      std::iota(all.begin(), all.end(), first_);
      const Candidates candidates = shortlist == nullptr || shortlist->ranks_all ? all : Listed(*shortlist, g);
      for (int h = g * heads; h < (g + 1) * heads; ++h) AddHead(h, candidates, score, truth);
      const auto chosen = Best(candidates, score, k), best = Best(all, truth, k);
      const auto known = Best(candidates, score, k + zone);
      const std::set<int32_t> estimated(known.begin() + std::ssize(chosen), known.end());
      if (shortlist != nullptr && shortlist->ranks_all) {
        const auto kept = Best(all, score, shortlist->size);
        shortlist->pages[g] = {kept.begin(), kept.end()};
      }
      std::set<int32_t> read(chosen.begin(), chosen.end());
      for (const int32_t page : best) r.set_recall += read.count(page) / static_cast<double>(k) / n_groups;
      for (int32_t p = 0; p < n_pages_; ++p) {
        if (p < first_ || p >= end_) read.insert(p);
      }
      for (int h = g * heads; h < (g + 1) * heads; ++h) {
        r.mass_recall += Attend(h, read, estimated, r.out) / heads / n_groups;
      }
    }
    if (shortlist != nullptr && shortlist->ranks_all) shortlist->end = end_;
    return r;
  }

 private:
  using Candidates = std::vector<int32_t>;  // ascending

  Candidates Listed(const ReferenceShortlist& shortlist, int group) const {
    Candidates pages(shortlist.pages[group].begin(), shortlist.pages[group].end());
    for (int32_t p = shortlist.end; p < end_; ++p) pages.push_back(p);
    return pages;
  }
  static std::vector<double> Rounded(const std::vector<float>& row) {
    std::vector<double> out;
    for (const float x : row) out.push_back(F16ToF32(F32ToF16(x)));
    return out;
  }
  int64_t PageEnd(int32_t page) const { return std::min<int64_t>(n_tokens_, int64_t{page + 1} * o_.page_tokens); }
  double Dot(int h, int64_t t) const {
    const int kv = h / s_.q_per_kv();
    double sum = 0;
    for (int d = 0; d < s_.head_dim_k; ++d) sum += double{q_[h * s_.head_dim_k + d]} * keys_[t][kv * s_.head_dim_k + d];
    return sum;
  }
  double CuboidMax(int h, int32_t page) const {
    const int kv = h / s_.q_per_kv();
    double sum = 0;
    for (int d = 0; d < s_.head_dim_k; ++d) {
      double low = 1e300, high = -1e300;
      for (int64_t t = int64_t{page} * o_.page_tokens; t < PageEnd(page); ++t) {
        low = std::min(low, keys_[t][kv * s_.head_dim_k + d]);
        high = std::max(high, keys_[t][kv * s_.head_dim_k + d]);
      }
      const double q = q_[h * s_.head_dim_k + d];
      sum += std::max(q * low, q * high);
    }
    return sum;
  }

  // Rows [page_tokens, d] of one kv head.
  std::vector<double> PageRows(const std::vector<std::vector<double>>& rows, int kv, int32_t page, int d) const {
    std::vector<double> out;
    for (int64_t t = int64_t{page} * o_.page_tokens; t < PageEnd(page); ++t) {
      out.insert(out.end(), rows[t].begin() + kv * d, rows[t].begin() + (kv + 1) * d);
    }
    return out;
  }
  // q.k of every key of a full page as code2 rebuilds it.
  std::vector<double> CodedKeys(int h, int32_t page) const {
    const auto keys = PageRows(keys_, h / s_.q_per_kv(), page, s_.head_dim_k);
    auto box = reference::BuildDigest(DigestKind::kCode2, keys, o_.page_tokens, s_.head_dim_k);
    for (double& x : box) x = F16ToF32(F32ToF16(static_cast<float>(x)));
    const std::vector<double> q(q_.begin() + h * s_.head_dim_k, q_.begin() + (h + 1) * s_.head_dim_k);
    return reference::EstimateKeys(box, reference::BuildCodes(DigestKind::kCode2, box, keys, s_.head_dim_k), q);
  }
  double Estimate(int h, int32_t page) const {
    if (o_.digest != DigestKind::kCode2) return CuboidMax(h, page);
    const auto keys = CodedKeys(h, page);
    return *std::max_element(keys.begin(), keys.end());
  }

  // A head's votes for the candidates, and its true scores.
  void AddHead(int h, const Candidates& candidates, std::vector<double>& score, std::vector<double>& truth) const {
    double denominator = 0;
    if (o_.ResolvedCombine() == CombineKind::kSoftmaxPinned) {
      for (const int32_t p : candidates) denominator += std::exp(s_.scale * Estimate(h, p));
      for (int32_t p = 0; p < n_pages_; ++p) {
        if (p >= first_ && p < end_) continue;
        for (int64_t t = int64_t{p} * o_.page_tokens; t < PageEnd(p); ++t)
          denominator += std::exp(s_.scale * Dot(h, t));
      }
    }
    for (const int32_t p : candidates) {
      const double estimate = Estimate(h, p);
      score[p] += denominator > 0 ? std::exp(s_.scale * estimate) / denominator : estimate;
    }
    for (int32_t p = first_; p < end_; ++p) {
      double top = -1e300;
      for (int64_t t = int64_t{p} * o_.page_tokens; t < PageEnd(p); ++t) top = std::max(top, Dot(h, t));
      truth[p] += top;
    }
  }

  static std::vector<int32_t> Best(Candidates pages, const std::vector<double>& score, int32_t k) {
    std::stable_sort(pages.begin(), pages.end(), [&](int32_t a, int32_t b) { return score[a] > score[b]; });
    pages.resize(std::min<size_t>(pages.size(), k));
    return pages;
  }

  // Adds the head's output over the tokens of `read` and `estimated`; returns the share of the whole attention that the
  // ones of `read` have.
  double Attend(int h, const std::set<int32_t>& read, const std::set<int32_t>& estimated,
                std::vector<double>& out) const {
    const int kv = h / s_.q_per_kv(), dv = s_.head_dim_v;
    double all = 0, inside = 0, total = 0;
    std::vector<double> sum(dv, 0.0);
    const auto add = [&](double weight, const double* v) {
      total += weight;
      for (int d = 0; d < dv; ++d) sum[d] += weight * v[d];
    };
    for (int64_t t = 0; t < n_tokens_; ++t) {
      const double weight = std::exp(s_.scale * Dot(h, t));
      all += weight;
      if (read.count(static_cast<int32_t>(t / o_.page_tokens)) == 0) continue;
      inside += weight;
      add(weight, values_[t].data() + kv * dv);
    }
    for (const int32_t page : estimated) {
      const auto keys = CodedKeys(h, page);
      const auto values =
          reference::CodedValues(reference::CodeValues(o_.zone_value_bits, PageRows(values_, kv, page, dv), dv), dv);
      for (size_t t = 0; t < keys.size(); ++t) add(std::exp(s_.scale * keys[t]), values.data() + t * dv);
    }
    for (int d = 0; d < dv; ++d) out[h * dv + d] += sum[d] / total;
    return inside / all;
  }

  const KvLayerShape s_;
  const KvOptions o_;
  const int64_t n_tokens_;
  int32_t n_pages_ = 0, first_ = 0, end_ = 0;
  std::vector<float> q_;
  std::vector<std::vector<double>> keys_, values_;
};

}  // namespace arkvale
