#include "ops/cpu_kernels.h"
#include "ops/dequantise.h"
#include "ops/row_strips.h"

namespace arkvale::cpu {

Status Embed(const OpContext& ctx, const WeightView& table, std::span<const int32_t> ids, float scale,
             const MatrixView& out) {
  ForRowStrips(ctx, out.rows, out.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = out.row(i);
      Dequantise(table.ggml_type, static_cast<const std::byte*>(table.data) + ids[i] * table.row_bytes, row, out.cols);
      if (scale == 1.0f) continue;
      for (int64_t c = 0; c < out.cols; ++c) row[c] *= scale;
    }
  });
  return OkStatus();
}

}  // namespace arkvale::cpu
