// The project's only source of randomness (evaluation protocol 0.2): FNV-1a of a name seeds SplitMix64.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace arkvale {

class Rng {
 public:
  // State = FNV-1a-64 over the bytes of `name`, for example "passkey/42/4096/7".
  explicit Rng(std::string_view name) : state_(14695981039346656037ull) {
    for (const char c : name) {
      state_ ^= static_cast<uint8_t>(c);
      state_ *= 1099511628211ull;
    }
  }
  explicit Rng(uint64_t state) : state_(state) {}

  uint64_t state() const { return state_; }

  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // Uniform enough in [0, n); n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // In [lo, hi), 24 bits of resolution.
  float Uniform(float lo, float hi) { return lo + (hi - lo) * static_cast<float>(Next() >> 40) * 0x1p-24f; }

  template <typename T>
  void Shuffle(std::vector<T>& v) {
    for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[Below(i)]);
  }
  // k distinct values of 0..n-1, in drawing order; k <= n.
  std::vector<uint64_t> Sample(uint64_t n, uint64_t k) {
    std::vector<uint64_t> a(n);
    for (uint64_t i = 0; i < n; ++i) a[i] = i;
    for (uint64_t i = 0; i < k; ++i) std::swap(a[i], a[i + Below(n - i)]);
    a.resize(k);
    return a;
  }

 private:
  uint64_t state_;
};

}  // namespace arkvale
