#include "model/project.h"

#include <algorithm>
#include <array>

namespace arkvale {

namespace {

MatrixView Slice(const MatrixView& m, const RowSpan& span) {
  return {m.row(span.begin), span.end - span.begin, m.cols, m.stride};
}

}  // namespace

Status Project(const OpContext& ctx, const RowSet& rows, const MatrixView& x,
               std::initializer_list<MatmulTarget> targets) {
  std::array<MatmulTarget, 3> sliced;
  for (const RowSpan& span : rows.spans) {
    std::transform(targets.begin(), targets.end(), sliced.begin(), [&span](MatmulTarget t) {
      t.out = Slice(t.out, span);
      return t;
    });
    ARKVALE_RETURN_IF_ERROR(Matmul(ctx, span.path, Slice(x, span), {sliced.data(), targets.size()}));
  }
  return OkStatus();
}

}  // namespace arkvale
