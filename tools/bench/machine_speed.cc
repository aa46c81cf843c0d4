#include "tools/bench/machine_speed.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/clock.h"
#include "base/machine.h"
#include "ops/fma_peak.h"

namespace arkvale::tools {
namespace {

constexpr int kRuns = 20;
constexpr int64_t kMinBytes = int64_t{256} << 20, kMaxBytes = int64_t{1} << 30;
constexpr int64_t kStripBytes = int64_t{1} << 20;

// Some caches of a container's host are not reported: 256 MiB is beyond most.
int64_t BufferBytes() {
  const int64_t l3 = std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
  return std::clamp(8 * l3, kMinBytes, kMaxBytes) / kStripBytes * kStripBytes;
}

// Two streams of reads: a tenth faster than one here (27 and 30 GB/s of a core), more are slower again.
uint64_t SumWords(const uint64_t* words, int64_t n) {
  constexpr int64_t kSums = 8;
  const int64_t half = n / 2;
  uint64_t low[kSums] = {}, high[kSums] = {};
  for (int64_t i = 0; i + kSums <= half; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) low[j] += words[i + j];
    for (int64_t j = 0; j < kSums; ++j) high[j] += words[half + i + j];
  }
  uint64_t sum = 0;
  for (int64_t j = 0; j < kSums; ++j) sum += low[j] + high[j];
  return sum;
}

// Runs body(i, thread) for `n` pieces several times; the shortest time in nanoseconds.
template <typename Body>
double BestNs(ThreadPool& pool, int64_t n, const Body& body) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const ThreadPool::Region region(pool);
    const int64_t start = NowNs();
    pool.ParallelFor(n, body);
    const auto ns = static_cast<double>(NowNs() - start);
    best = run == 0 ? ns : std::min(best, ns);
  }
  return best;
}

double ReadGbPerS(ThreadPool& pool) {
  const int64_t bytes = BufferBytes();
  if (bytes > MemoryBytes() / 4) return 0;
  const std::unique_ptr<uint64_t[]> buffer(new (std::nothrow) uint64_t[static_cast<size_t>(bytes) / sizeof(uint64_t)]);
  if (buffer == nullptr) return 0;
  const int64_t n_strips = bytes / kStripBytes, words = kStripBytes / static_cast<int64_t>(sizeof(uint64_t));
  // Written first: untouched pages are all the same one.
  pool.ParallelFor(n_strips,
                   [&](int64_t i, int) { std::memset(buffer.get() + i * words, static_cast<int>(i), kStripBytes); });
  const std::unique_ptr<uint64_t[]> sums(new uint64_t[static_cast<size_t>(n_strips)]);
  const double ns = BestNs(pool, n_strips, [&](int64_t i, int) {
    sums[static_cast<size_t>(i)] = SumWords(buffer.get() + i * words, words);
  });
  // The sums are used, or the reads could be left out.
  uint64_t total = 0;
  for (int64_t i = 0; i < n_strips; ++i) total |= sums[static_cast<size_t>(i)];
  return total == 0 ? 0 : static_cast<double>(bytes) / ns;
}

double FmaGflopPerS(ThreadPool& pool) {
  constexpr int64_t kLoops = 1 << 20;
  const int64_t n = pool.n_threads();
  const std::unique_ptr<double[]> flops(new double[static_cast<size_t>(n)]);
  const double ns = BestNs(pool, n, [&](int64_t i, int) { flops[static_cast<size_t>(i)] = RunFmas(kLoops); });
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += flops[static_cast<size_t>(i)];
  return total / ns;
}

}  // namespace

MachineSpeed MeasureMachine(ThreadPool& pool) {
  return {.read_gb_per_s = ReadGbPerS(pool), .fma_gflop_per_s = FmaGflopPerS(pool)};
}

}  // namespace arkvale::tools
