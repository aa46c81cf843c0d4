// GrowCapacity: reserve() for vectors that grow a little at every call.
#pragma once

#include <algorithm>
#include <cstdint>

namespace arkvale {

// Room for n elements. Grows by at least a quarter, so that asking for one more each time copies O(1) per element.
template <typename Vector>
void GrowCapacity(Vector& v, int64_t n) {
  const auto capacity = static_cast<int64_t>(v.capacity());
  if (n > capacity) v.reserve(static_cast<size_t>(std::max(n, capacity + capacity / 4)));
}

// Columns of a matrix with n of them in use that now has room for `stride`: at least a quarter more at a time, and
// fewer once most of them lie idle.
inline int64_t GrownStride(int64_t stride, int64_t n) {
  constexpr int64_t kIdle = 4, kLeast = 1024;
  if (n > stride) return std::max(n, stride + stride / 4);
  return stride <= std::max(kLeast, kIdle * n) ? stride : std::max(kLeast, n + n / 4);
}

}  // namespace arkvale
