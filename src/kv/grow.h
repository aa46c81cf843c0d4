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

}  // namespace arkvale
