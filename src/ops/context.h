// OpContext: what every op needs besides its arguments: the device's table, compute threads and scratch memory.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/thread_pool.h"

namespace arkvale {

struct OpTable;

// Scratch memory that grows to its high-water mark and is then reused, so that a steady step allocates nothing.
// Contents do not survive the op that asked for them. Not thread-safe but for PerThread with distinct threads.
class Workspace {
 public:
  explicit Workspace(int n_threads) : per_thread_(n_threads) {}

  // At least `bytes` bytes, 64-byte aligned. Each `slot` is a buffer of its own.
  void* Shared(int slot, size_t bytes);
  void* PerThread(int thread, size_t bytes);

 private:
  struct Block {
    std::unique_ptr<std::byte[]> memory;
    size_t bytes = 0;
    void* Get(size_t wanted);
  };
  std::vector<Block> shared_;
  std::vector<Block> per_thread_;
};

// Passed by reference to every op; owned by whoever runs the forward pass. One user thread at a time.
struct OpContext {
  const OpTable* ops = nullptr;
  ThreadPool* pool = nullptr;
  Workspace* workspace = nullptr;
};

}  // namespace arkvale
