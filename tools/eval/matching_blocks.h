// Likeness of two texts by Ratcliff-Obershelp, as Python's difflib computes it.
#pragma once

#include <string_view>

namespace arkvale::tools {

// 2M / T rounded to 1/100, half to even: M characters in common blocks (the longest one, earliest in `a`, then in `b`;
// the same again left and right of it) of the T of both texts. In a `b` of 200 characters or more one that occurs more
// than size / 100 + 1 times does not start a block. 1 for equal texts, 0 where only one is empty.
double MatchingRatio(std::u32string_view a, std::u32string_view b);

}  // namespace arkvale::tools
