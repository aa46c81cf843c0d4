// Which instruction sets Highway compiles kernels for. Include before any header of hwy.
#pragma once

// x86: scalar code (the baseline), AVX2 and AVX-512 remain; each further target costs compile time for machines nobody
// runs models on. SVE's sizeless vectors cannot be kept in the arrays that our register blocks are written with.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
