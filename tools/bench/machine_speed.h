// How fast this machine could be: what steps and prefills are measured against.
#pragma once

#include "base/thread_pool.h"

namespace arkvale::tools {

// A share above 1 is no mistake: a model little larger than the caches is partly read from them, sequences that step
// together share memory, and kernels on integers can beat the f32 rate.
struct MachineSpeed {
  double read_gb_per_s = 0;    // all threads read memory, far more than the caches hold
  double fma_gflop_per_s = 0;  // all threads multiply and add f32 vectors in registers; an FMA counts as two
};

// The best of several runs with the pool's threads, in less than a second. Needs at most 1 GiB for its time; speeds
// are 0 where there is not enough memory.
MachineSpeed MeasureMachine(ThreadPool& pool);

}  // namespace arkvale::tools
