#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/alloc_failure_test_util.h"

namespace arkvale {
namespace {

TEST(ThreadPool, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.n_threads(), threads);
    for (const int64_t n : {0, 1, 2, 3, 7, 100, 10000}) {
      std::vector<int> runs(n, 0);
      std::atomic<int> bad_threads = 0;
      pool.ParallelFor(n, [&](int64_t i, int thread) {
        ++runs[i];
        if (thread < 0 || thread >= threads) ++bad_threads;
      });
      EXPECT_EQ(runs, std::vector<int>(n, 1)) << threads << " threads, n " << n;
      EXPECT_EQ(bad_threads, 0);
    }
  }
}

TEST(ThreadPool, CountsLoopsOfMoreThanOneIndex) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    for (const int64_t n : {0, 1, 2, 1, 100}) pool.ParallelFor(n, [](int64_t, int) {});
    EXPECT_EQ(pool.n_loops(), 2);
  }
}

TEST(ThreadPool, NegativeCountRunsNothing) {
  ThreadPool pool(2);
  int runs = 0;
  pool.ParallelFor(-1, [&](int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 0);
}

TEST(ThreadPool, HandsOutIndicesInIncreasingOrder) {
  ThreadPool pool(4);
  std::vector<std::vector<int64_t>> seen(4);
  pool.ParallelFor(5000, [&](int64_t i, int thread) { seen[thread].push_back(i); });
  size_t total = 0;
  for (const auto& indices : seen) {
    total += indices.size();
    for (size_t k = 1; k < indices.size(); ++k) ASSERT_LT(indices[k - 1], indices[k]);
  }
  EXPECT_EQ(total, 5000u);
}

// Every body waits until all threads are in one: only a pool that really runs them side by side returns.
TEST(ThreadPool, AllThreadsTakePart) {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  for (const bool in_region : {false, true}) {
    std::unique_ptr<ThreadPool::Region> region;
    if (in_region) region = std::make_unique<ThreadPool::Region>(pool);
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> arrived = 0;
      std::vector<int> runs_of_thread(kThreads, 0);
      pool.ParallelFor(kThreads, [&](int64_t, int thread) {
        ++runs_of_thread[thread];
        ++arrived;
        while (arrived < kThreads) std::this_thread::yield();
      });
      ASSERT_EQ(runs_of_thread, std::vector<int>(kThreads, 1));
    }
  }
}

TEST(ThreadPool, SmallLoopsAndSingleThreadRunOnTheCaller) {
  const std::thread::id self = std::this_thread::get_id();
  ThreadPool four(4);
  four.ParallelFor(1, [&](int64_t, int thread) {
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(std::this_thread::get_id(), self);
  });
  ThreadPool one(1);
  one.ParallelFor(50, [&](int64_t, int thread) {
    EXPECT_EQ(thread, 0);
    EXPECT_EQ(std::this_thread::get_id(), self);
  });
}

// Each loop reads what the one before wrote: a worker that runs late, with an old body or before its loop, breaks it.
TEST(ThreadPool, LoopsFollowEachOther) {
  for (const int threads : {2, 3, 16}) {
    ThreadPool pool(threads);
    for (const bool in_region : {false, true}) {
      std::unique_ptr<ThreadPool::Region> region;
      if (in_region) region = std::make_unique<ThreadPool::Region>(pool);
      constexpr int64_t kLoops = 500;
      constexpr int64_t kCells = 37;
      std::vector<int64_t> cells(kCells, 0);
      for (int64_t loop = 0; loop < kLoops; ++loop) {
        std::vector<int64_t> next(kCells);
        pool.ParallelFor(kCells, [&, loop](int64_t i, int) { next[i] = cells[(i + 1) % kCells] + loop + i; });
        cells.swap(next);
      }
      int64_t sum = 0;
      for (const int64_t cell : cells) sum += cell;
      EXPECT_EQ(sum, kCells * kLoops * (kLoops - 1) / 2 + kLoops * kCells * (kCells - 1) / 2);
    }
  }
}

TEST(ThreadPool, RegionsOpenAndCloseWithAndWithoutLoops) {
  ThreadPool pool(3);
  int64_t total = 0;
  for (int step = 0; step < 300; ++step) {
    const ThreadPool::Region region(pool);
    if (step % 3 == 0) continue;
    std::vector<int64_t> parts(8);
    pool.ParallelFor(8, [&](int64_t i, int) { parts[i] = i; });
    for (const int64_t part : parts) total += part;
  }
  EXPECT_EQ(total, 200 * 28);
}

TEST(ThreadPool, EndsWithWorkersAsleepAwakeAndUnused) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(1 + round % 5);
    if (round % 2) pool.ParallelFor(10, [](int64_t, int) {});
    if (round % 3 == 0) const ThreadPool::Region region(pool);
  }
}

// Thrown on the caller, on a worker or on all threads: the exception reaches the caller when no body runs any more, and
// the pool works on.
TEST(ThreadPool, ExceptionOfABodyReachesTheCaller) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int thrower = 0; thrower <= threads; ++thrower) {  // the last round: all of them
      const bool all = thrower == threads;
      std::atomic<int> arrived = 0, thrown = 0, finished = 0;
      const auto body = [&](int64_t, int thread) {
        ++arrived;
        while (arrived < threads) std::this_thread::yield();
        if (all || thread == thrower) {
          ++thrown;
          throw std::bad_alloc();
        }
        while (thrown == 0) std::this_thread::yield();
        ++finished;
      };
      EXPECT_THROW(pool.ParallelFor(threads, body), std::bad_alloc) << threads << " threads, thrower " << thrower;
      EXPECT_EQ(thrown, all ? threads : 1);
      EXPECT_EQ(finished, all ? 0 : threads - 1);
      std::vector<int> runs(100, 0);
      pool.ParallelFor(100, [&](int64_t i, int) { ++runs[i]; });
      EXPECT_EQ(runs, std::vector<int>(100, 1));
    }
  }
}

TEST(ThreadPool, ConstructorThatRunsOutOfMemoryLeavesNoThread) {
  int64_t n = 1;
  for (bool failed = true; failed; ++n) {
    std::unique_ptr<ThreadPool> pool;
    const testing::FailAllocation fail(n);
    try {
      pool = std::make_unique<ThreadPool>(3);
    } catch (const std::bad_alloc&) {
    }
    failed = testing::FailAllocation::failed();
    EXPECT_EQ(pool == nullptr, failed) << n;
  }
  EXPECT_GE(n, 4);  // at least the state, the list and two threads
}

TEST(ThreadPool, ExceptionEndsTheLoopEarly) {
  ThreadPool pool(2);
  std::atomic<int64_t> runs = 0;
  EXPECT_THROW(pool.ParallelFor(int64_t{1} << 40,
                                [&](int64_t, int) {
                                  if (++runs == 1000) throw std::runtime_error("enough");
                                }),
               std::runtime_error);
  EXPECT_GE(runs, 1000);
}

TEST(ThreadPool, TakesStdFunction) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum = 0;
  const std::function<void(int64_t, int)> body = [&](int64_t i, int) { sum += i; };
  pool.ParallelFor(100, body);
  EXPECT_EQ(sum, 4950);
}

}  // namespace
}  // namespace arkvale
