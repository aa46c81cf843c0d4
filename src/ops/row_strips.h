// ForRowStrips: element-wise ops over rows, on the calling thread while that is cheaper than waking the others.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/context.h"

namespace arkvale {

// Calls body(begin, end) for disjoint strips that cover [0, n_rows). `row_elements` is the work of one row.
template <typename Body>
void ForRowStrips(const OpContext& ctx, int64_t n_rows, int64_t row_elements, const Body& body) {
  constexpr int64_t kStripElements = 8192;  // a few us of work, well above the cost of handing out a strip
  if (n_rows <= 0) return;
  if (ctx.pool->n_threads() == 1 || n_rows * row_elements <= 2 * kStripElements) {
    body(int64_t{0}, n_rows);
    return;
  }
  struct Job {
    const Body& body;
    int64_t n_rows;
    int64_t strip_rows;
  } job{body, n_rows, std::max<int64_t>(1, kStripElements / std::max<int64_t>(1, row_elements))};
  // One reference fits std::function's own storage: nothing is allocated.
  ctx.pool->ParallelFor((n_rows + job.strip_rows - 1) / job.strip_rows, [&job](int64_t strip, int) {
    const int64_t begin = strip * job.strip_rows;
    job.body(begin, std::min(job.n_rows, begin + job.strip_rows));
  });
}

}  // namespace arkvale
