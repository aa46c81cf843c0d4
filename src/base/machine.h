// What this process runs on. Read from the operating system at each call; limits of a container count.
#pragma once

#include <cstdint>
#include <string>

namespace arkvale {

// Cores this process may use, hyper-threads of one core counted once. At least 1.
int32_t PhysicalCores();

// RAM this process may use, in bytes.
int64_t MemoryBytes();

// Largest resident set of this process so far, in bytes; 0 if unknown.
int64_t PeakRssBytes();

std::string CpuName();

// Runnable processes over the last minute, divided by the cores this process may use.
double LoadPerCore();

}  // namespace arkvale
