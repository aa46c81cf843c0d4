// Numbers in lines for people.
#pragma once

#include <cstdint>
#include <string>

namespace arkvale::tools {

// As printf, cut at 511 bytes.
[[gnu::format(printf, 1, 2)]] std::string Format(const char* format, ...);

inline double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// 0 where `ms` is.
inline double PerSecond(double n, double ms) { return ms > 0 ? 1000 * n / ms : 0; }

}  // namespace arkvale::tools
