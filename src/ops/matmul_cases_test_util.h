// Shapes of Matmul that its tests compare with the reference and its benchmark times.
#pragma once

#include <cstdint>

#include "ggml.h"

namespace arkvale::test {

// `n` rows of `in` inputs times a weight of `out` rows.
struct MatmulCase {
  int32_t type;
  int64_t n, in, out;
};

inline constexpr MatmulCase kMatmulCases[] = {
    {GGML_TYPE_F32, 1, 1, 1},      {GGML_TYPE_F32, 2, 3, 5},      {GGML_TYPE_F32, 33, 257, 49},
    {GGML_TYPE_F32, 70, 515, 13},  {GGML_TYPE_F16, 5, 37, 12},    {GGML_TYPE_F16, 17, 300, 47},
    {GGML_TYPE_BF16, 3, 65, 50},   {GGML_TYPE_Q4_0, 1, 32, 1},    {GGML_TYPE_Q4_0, 9, 288, 97},
    {GGML_TYPE_Q4_1, 4, 576, 100}, {GGML_TYPE_Q4_1, 31, 64, 48},  {GGML_TYPE_Q5_0, 2, 96, 7},
    {GGML_TYPE_Q5_1, 3, 320, 9},   {GGML_TYPE_Q5_0, 40, 288, 51}, {GGML_TYPE_Q4_0, 2, 544, 5},
    {GGML_TYPE_Q8_0, 8, 320, 65},  {GGML_TYPE_Q8_0, 65, 32, 3},   {GGML_TYPE_Q4_K, 3, 256, 50},
    {GGML_TYPE_Q5_K, 16, 768, 11}, {GGML_TYPE_Q6_K, 7, 512, 96},  {GGML_TYPE_Q6_K, 1, 256, 145},
};

}  // namespace arkvale::test
