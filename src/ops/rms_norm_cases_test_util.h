// Shapes of RmsNorm that its tests compare with the reference and its benchmark times.
#pragma once

#include <cstdint>

namespace arkvale::test {

// Rows of `d` elements; `in_place`: x and out are the same memory.
struct RmsNormCase {
  int64_t n, d;
  bool add, in_place;
};

inline constexpr RmsNormCase kRmsNormCases[] = {
    {0, 8, false, false},  {1, 1, false, false},     {1, 15, true, false},    {3, 33, false, true},
    {2, 576, true, false}, {200, 640, false, false}, {129, 257, true, false}, {100, 576, false, true},
};

}  // namespace arkvale::test
