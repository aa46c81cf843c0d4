// Marks functions that both the CPU's and CUDA's compiler build.
#pragma once

#if defined(__CUDACC__)
#define ARKVALE_HOST_DEVICE __host__ __device__
#else
#define ARKVALE_HOST_DEVICE
#endif
