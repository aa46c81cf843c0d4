#include "base/thread_pool.h"

#include <atomic>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"

namespace arkvale {
namespace {

inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or kSpinUs have passed; says whether done() held.
template <typename Done>
bool SpinUntil(const Done& done) {
  constexpr int kChecksPerClockRead = 16;
  const int64_t limit_ns = NowNs() + int64_t{ThreadPool::kSpinUs} * 1000;
  do {
    for (int i = 0; i < kChecksPerClockRead; ++i) {
      if (done()) return true;
      CpuRelax();
    }
  } while (NowNs() < limit_ns);
  return false;
}

// Bits of Impl::gate; below them, the number of workers inside the current loop.
constexpr uint32_t kOpen = 1u << 31;
constexpr uint32_t kCallerSleeps = 1u << 30;

}  // namespace

// A worker takes part in a loop only by entering an open gate, and the caller shuts the gate once every index is
// handed out. So a worker that the system has not scheduled yet is never waited for, which keeps a loop fast when
// there are more threads than free cores.
struct ThreadPool::Impl {
  // Constant after construction.
  std::vector<std::thread> workers;

  int64_t n_loops = 0;  // the caller's

  // Written by the caller while the gate is shut and nobody is inside, read by those inside.
  LoopFn fn = nullptr;
  const void* body = nullptr;
  int64_t n = 0;

  // Each on its own cache line: `next` is hit at every index, the others are polled.
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint32_t> gate{0};
  alignas(64) std::atomic<uint32_t> signal{0};  // bumped when workers should look: a loop, a region, the end
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> in_region{false};
  std::atomic<bool> stop{false};

  // The first exception of the current loop: written by the body that set `failed`, read by the caller behind the gate.
  std::atomic<bool> failed{false};
  std::exception_ptr failure;

  void Signal() {
    // seq_cst here and in AwaitSignal: either this load sees the sleeper, or the sleeper sees the new signal.
    signal.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) signal.notify_all();
  }

  // Returns the first value of `signal` that differs from `seen`.
  uint32_t AwaitSignal(uint32_t seen) {
    const auto changed = [&] {
      return signal.load(std::memory_order_acquire) != seen || !in_region.load(std::memory_order_relaxed);
    };
    SpinUntil(changed);
    if (signal.load(std::memory_order_acquire) == seen) {
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      while (signal.load(std::memory_order_seq_cst) == seen) signal.wait(seen, std::memory_order_seq_cst);
      sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    return signal.load(std::memory_order_acquire);
  }

  bool TryEnter() {
    uint32_t g = gate.load(std::memory_order_relaxed);
    while (g & kOpen) {
      if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  void Leave() {
    const uint32_t before = gate.fetch_sub(1, std::memory_order_release);
    if (before == (kCallerSleeps | 1)) gate.notify_all();
  }

  void TakeIndices(int thread) noexcept {
    try {
      for (;;) {
        const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
        if (i >= n) return;
        fn(body, i, thread);
      }
    } catch (...) {
      next.store(n, std::memory_order_relaxed);
      if (!failed.exchange(true, std::memory_order_relaxed)) failure = std::current_exception();
    }
  }

  // Nobody is inside.
  void RethrowFailure() {
    if (!failed.load(std::memory_order_relaxed)) return;
    failed.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(failure, nullptr));
  }

  void AwaitWorkersInside() {
    gate.fetch_and(~kOpen, std::memory_order_relaxed);
    if (SpinUntil([&] { return gate.load(std::memory_order_acquire) == 0; })) return;
    uint32_t g = gate.fetch_or(kCallerSleeps, std::memory_order_acquire) | kCallerSleeps;
    while (g != kCallerSleeps) {
      gate.wait(g, std::memory_order_acquire);
      g = gate.load(std::memory_order_acquire);
    }
    gate.store(0, std::memory_order_relaxed);
  }

  void WorkerMain(int thread) {
    uint32_t seen = 0;
    while (!stop.load(std::memory_order_acquire)) {
      if (TryEnter()) {
        TakeIndices(thread);
        Leave();
      }
      seen = AwaitSignal(seen);
    }
  }

  void Join() {
    stop.store(true, std::memory_order_release);
    Signal();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
  ARKVALE_CHECK(n_threads >= 1);
  try {
    impl_->workers.reserve(n_threads - 1);
    for (int t = 1; t < n_threads; ++t) impl_->workers.emplace_back([impl = impl_.get(), t] { impl->WorkerMain(t); });
  } catch (...) {
    impl_->Join();
    throw;
  }
}

ThreadPool::~ThreadPool() { impl_->Join(); }

int ThreadPool::n_threads() const { return static_cast<int>(impl_->workers.size()) + 1; }

int64_t ThreadPool::n_loops() const { return impl_->n_loops; }

void ThreadPool::Run(int64_t n, LoopFn fn, const void* body) {
  if (n > 1) ++impl_->n_loops;
  if (impl_->workers.empty() || n <= 1) {
    for (int64_t i = 0; i < n; ++i) fn(body, i, 0);
    return;
  }
  impl_->fn = fn;
  impl_->body = body;
  impl_->n = n;
  impl_->next.store(0, std::memory_order_relaxed);
  impl_->gate.store(kOpen, std::memory_order_release);
  impl_->Signal();
  impl_->TakeIndices(0);
  impl_->AwaitWorkersInside();
  impl_->RethrowFailure();
}

// A region wakes the workers at once, so that they are there when its first loop starts.
ThreadPool::Region::Region(ThreadPool& pool) : pool_(pool) {
  pool_.impl_->in_region.store(true, std::memory_order_relaxed);
  pool_.impl_->Signal();
}

ThreadPool::Region::~Region() { pool_.impl_->in_region.store(false, std::memory_order_relaxed); }

}  // namespace arkvale
