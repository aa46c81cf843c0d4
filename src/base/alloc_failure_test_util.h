// For tests: fails the N-th allocation by operator new, as a machine out of memory would.
//
// It replaces the operators of the whole program, so exactly one file of a test program includes it. Memory taken by
// malloc (libraries in C, mmap) is not counted. Threads: counts over all threads; arm and disarm while the others are
// idle.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>

namespace arkvale::testing {

class FailAllocation {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // The `n`-th allocation from now on (1 = the next) throws std::bad_alloc, later ones work. kNever only counts.
  explicit FailAllocation(int64_t n = kNever) {
    count_ = 0;
    fail_at_ = n;
  }
  ~FailAllocation() { fail_at_ = kNever; }
  FailAllocation(const FailAllocation&) = delete;
  FailAllocation& operator=(const FailAllocation&) = delete;

  // Allocations since it was armed, the failed one counted.
  static int64_t count() { return count_; }
  static bool failed() { return count_ >= fail_at_; }

  // What operator new calls; null for the allocation to fail.
  static void* Allocate(std::size_t bytes, std::size_t alignment) {
    if (count_.fetch_add(1, std::memory_order_relaxed) + 1 == fail_at_.load(std::memory_order_relaxed)) return nullptr;
    if (bytes == 0) bytes = 1;
    if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return std::malloc(bytes);
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }

 private:
  static inline std::atomic<int64_t> count_{0}, fail_at_{kNever};
};

inline void* AllocateOrThrow(std::size_t bytes, std::size_t alignment) {
  void* p = FailAllocation::Allocate(bytes, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace arkvale::testing

// Every form is replaced: a sanitizer would take a mixture for an error.
// NOLINTBEGIN(misc-definitions-in-headers,cppcoreguidelines-no-malloc): see the top
void* operator new(std::size_t n) { return arkvale::testing::AllocateOrThrow(n, 1); }
void* operator new[](std::size_t n) { return arkvale::testing::AllocateOrThrow(n, 1); }
void* operator new(std::size_t n, std::align_val_t a) {
  return arkvale::testing::AllocateOrThrow(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return arkvale::testing::AllocateOrThrow(n, static_cast<std::size_t>(a));
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return arkvale::testing::FailAllocation::Allocate(n, 1);
}
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return arkvale::testing::FailAllocation::Allocate(n, 1);
}
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return arkvale::testing::FailAllocation::Allocate(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return arkvale::testing::FailAllocation::Allocate(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
// NOLINTEND(misc-definitions-in-headers,cppcoreguidelines-no-malloc)
