#include "base/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <utility>

namespace arkvale {
namespace {

// The value after "key<spaces>:" in a /proc file, or empty.
std::string ProcValue(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

int32_t ReadInt(const std::string& path, int32_t otherwise) {
  std::ifstream file(path);
  int32_t value = 0;
  return file >> value ? value : otherwise;
}

// CPU time a container may use, in cores; 0 = no limit.
int32_t CgroupCores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(1, static_cast<int32_t>(std::ceil(std::strtod(quota.c_str(), nullptr) / period)));
}

}  // namespace

int32_t PhysicalCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::set<std::pair<int32_t, int32_t>> cores;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      cores.insert({ReadInt(topology + "physical_package_id", 0), ReadInt(topology + "core_id", cpu)});
    }
  }
  const auto n = std::max<int32_t>(1, static_cast<int32_t>(cores.size()));
  const int32_t limit = CgroupCores();
  return limit > 0 ? std::min(n, limit) : n;
}

int64_t MemoryBytes() {
  const int64_t ram = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::ifstream file("/sys/fs/cgroup/memory.max");
  int64_t limit = 0;
  return file >> limit && limit > 0 ? std::min(ram, limit) : ram;
}

int64_t PeakRssBytes() { return std::strtoll(ProcValue("/proc/self/status", "VmHWM").c_str(), nullptr, 10) * 1024; }

std::string CpuName() {
  const std::string name = ProcValue("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown" : name;
}

double LoadPerCore() {
  double load = 0;
  if (getloadavg(&load, 1) != 1) return 0;
  return load / PhysicalCores();
}

}  // namespace arkvale
