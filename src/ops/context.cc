#include "ops/context.h"

namespace arkvale {
namespace {
constexpr size_t kAlign = 64;
}

void* Workspace::Block::Get(size_t wanted) {
  if (wanted > bytes) {
    memory = std::make_unique_for_overwrite<std::byte[]>(wanted + kAlign);
    bytes = wanted;
  }
  void* p = memory.get();
  size_t space = bytes + kAlign;
  return std::align(kAlign, bytes, p, space);
}

void* Workspace::Shared(int slot, size_t bytes) {
  if (static_cast<size_t>(slot) >= shared_.size()) shared_.resize(slot + 1);
  return shared_[slot].Get(bytes);
}

void* Workspace::PerThread(int thread, size_t bytes) { return per_thread_[thread].Get(bytes); }

}  // namespace arkvale
