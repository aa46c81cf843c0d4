// Monotonic time. Wall-clock measurements only: no decision of the engine depends on time.
#pragma once

#include <chrono>
#include <cstdint>

namespace arkvale {

inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Milliseconds since a point taken with NowNs().
inline double MsSince(int64_t start_ns) { return static_cast<double>(NowNs() - start_ns) * 1e-6; }

}  // namespace arkvale
