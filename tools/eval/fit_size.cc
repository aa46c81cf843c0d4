#include "tools/eval/fit_size.h"

namespace arkvale::tools {

Result<int64_t> LargestSizeThatFits(int64_t lo, int64_t hi, int64_t limit_tokens,
                                    const std::function<Result<int64_t>(int64_t size)>& n_tokens) {
  while (lo < hi) {
    const int64_t mid = (lo + hi + 1) / 2;
    ARKVALE_ASSIGN_OR_RETURN(const int64_t n, n_tokens(mid));
    if (n <= limit_tokens) {
      lo = mid;
    } else {
      hi = mid - 1;
    }
  }
  return lo;
}

}  // namespace arkvale::tools
