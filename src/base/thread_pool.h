// The one pool of compute threads of a process.
//
// A forward step opens a Region; inside it workers stay awake between parallel loops (they spin at most kSpinUs, then
// sleep), so a loop costs about a barrier. Outside a region they sleep.
//
// Threads: one caller at a time may use a pool (the engine's step thread). Loop bodies must not call the pool again.
#pragma once

#include <cstdint>
#include <memory>

namespace arkvale {

class ThreadPool {
 public:
  static constexpr int kSpinUs = 50;

  // `n_threads` >= 1 counts the calling thread, which takes part in every loop. Throws std::bad_alloc or
  // std::system_error where the threads cannot be made.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const;
  // Loops of more than one index so far, whatever the number of threads: each is a barrier.
  int64_t n_loops() const;

  // Runs body(i, thread) once for each i in [0, n), thread in [0, n_threads()), and returns when all are done.
  // Indices are handed out one by one in increasing order to whoever is free: results must not depend on who ran what.
  // `body` is any callable (int64_t i, int thread) -> void; it is borrowed, never copied. Where bodies throw, no
  // further index is handed out, and the first exception is rethrown here once no body runs any more.
  template <typename Body>
  void ParallelFor(int64_t n, const Body& body) {
    Run(
        n, [](const void* b, int64_t i, int thread) { (*static_cast<const Body*>(b))(i, thread); }, &body);
  }

  // Keeps workers awake between loops while it lives (see above).
  class Region {
   public:
    explicit Region(ThreadPool& pool);
    ~Region();
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

   private:
    ThreadPool& pool_;
  };

 private:
  using LoopFn = void (*)(const void* body, int64_t i, int thread);
  void Run(int64_t n, LoopFn fn, const void* body);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
