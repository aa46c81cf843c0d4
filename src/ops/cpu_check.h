// Whether this CPU can run the kernels that were compiled into this program.
#pragma once

#include <span>
#include <string_view>

#include "arkvale/status.h"

namespace arkvale {

// One instruction set.
struct CpuFeature {
  std::string_view name;
  bool compiled = false;   // the linked ggml uses it without asking
  bool available = false;  // on this machine, and switched on by its system
};

// The instruction sets that ggml may be compiled for. Empty where the build target is not x86.
std::span<const CpuFeature> CpuFeatures();

// InvalidArgument names what is compiled and not available, and what to do.
Status CheckCpuFeatures(std::span<const CpuFeature> features);

// Call before any kernel runs: without it a program built on a newer machine ends by an illegal instruction.
inline Status CheckCpu() { return CheckCpuFeatures(CpuFeatures()); }

// Our own kernels, compiled for several instruction sets, found none of them on this CPU and run as scalar code.
bool KernelsAreScalar();

}  // namespace arkvale
