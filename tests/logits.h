// Comparing logits as the evaluation protocol does (its section 4).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace arkvale::testing {

// KL(dense || policy) in nats over all of the vocabulary, in doubles.
inline double Kl(std::span<const float> dense, std::span<const float> policy) {
  const auto log_z = [](std::span<const float> l) {
    const double top = *std::max_element(l.begin(), l.end());
    double sum = 0;
    for (const float x : l) sum += std::exp(x - top);
    return top + std::log(sum);
  };
  const double zp = log_z(dense), zq = log_z(policy);
  double kl = 0;
  for (size_t v = 0; v < dense.size(); ++v) {
    const double lp = dense[v] - zp;
    const double p = std::exp(lp);
    if (p > 0) kl += p * (lp - (policy[v] - zq));
  }
  return kl;
}

inline int32_t ArgMax(std::span<const float> l) {
  return static_cast<int32_t>(std::max_element(l.begin(), l.end()) - l.begin());  // the first of equal ones
}

// Difference of the two largest logits.
inline float TopGap(std::span<const float> l) {
  float a = -INFINITY, b = -INFINITY;
  for (const float x : l) {
    if (x > a) {
      b = a;
      a = x;
    } else if (x > b) {
      b = x;
    }
  }
  return a - b;
}

inline std::span<const float> Row(const std::vector<float>& logits, size_t i, size_t n_vocab) {
  return {logits.data() + i * n_vocab, n_vocab};
}

inline double MeanKl(const std::vector<float>& dense, const std::vector<float>& policy, size_t n_vocab) {
  const size_t n = dense.size() / n_vocab;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += Kl(Row(dense, i, n_vocab), Row(policy, i, n_vocab));
  return sum / static_cast<double>(n);
}

}  // namespace arkvale::testing
