// What the micro-benchmarks share.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/machine.h"

namespace arkvale::bench {

// Threads of every benchmark: one per core, as the engine has by default.
inline int Threads() { return PhysicalCores(); }

// Attention heads of one layer of a real model.
struct ModelHeads {
  const char* name;
  int32_t kv_heads, gqa, head_dim;
};
inline constexpr ModelHeads kModelHeads[] = {
    {"smollm2", 3, 3, 64}, {"gemma3_270m", 1, 4, 256}, {"llama_8b", 8, 4, 128}};

// `bytes` again and again, up to `size`.
inline void Repeat(std::vector<std::byte>& bytes, int64_t size) {
  const size_t period = bytes.size();
  bytes.resize(static_cast<size_t>(size));
  for (size_t at = period; at < bytes.size(); at += period) {
    std::copy_n(bytes.begin(), std::min(period, bytes.size() - at), bytes.begin() + static_cast<ptrdiff_t>(at));
  }
}

// Bytes that one run must read and write, as GB/s, and its multiplications and additions, as GFLOP/s (0: not shown).
inline void Report(benchmark::State& state, double bytes, double flops) {
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  if (flops == 0) return;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// A benchmark whose result is wrong reports no time.
inline bool Near(benchmark::State& state, double got, double want, double bound) {
  if (std::abs(got - want) <= bound) return true;
  state.SkipWithError(
      ("result " + std::to_string(got) + ", reference " + std::to_string(want) + " +- " + std::to_string(bound))
          .c_str());
  return false;
}

}  // namespace arkvale::bench
