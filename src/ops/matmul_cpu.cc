// Matmul on the CPU: the step path (matmul_step_cpu.cc's kernels of packed weights and ggml's of rows) and the choice
// between the paths.
#include "ops/matmul_cpu.h"

#include <algorithm>

#include "ggml-cpu.h"
#include "ggml.h"
#include "ops/cpu_kernels.h"
#include "ops/dequantise.h"
#include "ops/packed_weight.h"
#include "ops/row_strips.h"

namespace arkvale::cpu {
namespace {

// About a microsecond of weights per strip: long against handing one out, short against the end of the loop.
constexpr int64_t kStripBytes = 16 * 1024;
// Packed strips are as long as balance allows, for streams of memory start slowly: so many per thread, or so long.
constexpr int64_t kPackedStrips = 8;
constexpr int64_t kPackedStripBytes = 64 * 1024;

// What x is converted to for a weight: the ggml type its dot product reads, or StepBlocks.
constexpr int32_t kStepBlocks = -1;
int32_t XType(const WeightView& w) { return w.packed ? kStepBlocks : CpuTraits(w.ggml_type).vec_dot_type; }

struct RowsTarget {
  const MatmulTarget* target;
  const std::byte* x;  // rows as XType says
  int64_t x_row_bytes;
  int64_t strip_rows;
  int64_t strip_end;  // strips of this target and those before it
};

struct RowsJob {
  std::span<const RowsTarget> targets;
  int64_t n;
  int64_t depth;
};

// Rows [begin, end) of a target, one after the other.
void MultiplyRows(const RowsJob& job, const RowsTarget& t, int64_t begin, int64_t end) {
  const WeightView& w = t.target->weight;
  const ggml_vec_dot_t dot = CpuTraits(w.ggml_type).vec_dot;
  for (int64_t r = begin; r < end; ++r) {
    const std::byte* weights = static_cast<const std::byte*>(w.data) + r * w.row_bytes;
    for (int64_t i = 0; i < job.n; ++i) {
      float y;
      dot(static_cast<int>(job.depth), &y, 0, weights, 0, t.x + i * t.x_row_bytes, 0, 1);
      if (t.target->bias != nullptr) y += t.target->bias[r];
      float* out = t.target->out.row(i) + r;
      *out = t.target->add ? *out + y : y;
    }
  }
}

void RunStrip(const RowsJob& job, int64_t strip) {
  const RowsTarget* t = job.targets.data();
  int64_t first = 0;
  while (strip >= t->strip_end) first = (t++)->strip_end;
  const WeightView& w = t->target->weight;
  const int64_t begin = (strip - first) * t->strip_rows;
  const int64_t end = std::min(w.rows, begin + t->strip_rows);
  if (w.packed) {
    const auto* x = reinterpret_cast<const StepBlock*>(t->x);
    MultiplyPackedGroups(*t->target, x, job.n, begin / kPackedRows, (end + kPackedRows - 1) / kPackedRows);
  } else {
    MultiplyRows(job, *t, begin, end);
  }
}

// Rows of x in `type`, converted into workspace slot `slot` unless they are that already.
void PrepareX(const OpContext& ctx, const MatrixView& x, int32_t type, int slot, RowsTarget& t) {
  if (type == GGML_TYPE_F32) {
    t.x = reinterpret_cast<const std::byte*>(x.data);
    t.x_row_bytes = x.stride * static_cast<int64_t>(sizeof(float));
    return;
  }
  t.x_row_bytes = type == kStepBlocks ? x.cols / kStepColumns * static_cast<int64_t>(sizeof(StepBlock))
                                      : TypeRowBytes(type, x.cols);
  auto* rows = static_cast<std::byte*>(ctx.workspace->Shared(slot, x.rows * t.x_row_bytes));
  ForRowStrips(ctx, x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::byte* to = rows + i * t.x_row_bytes;
      if (type == kStepBlocks) {
        RoundStepRow(x.row(i), x.cols, reinterpret_cast<StepBlock*>(to));
      } else {
        CpuTraits(type).from_float(x.row(i), to, x.cols);
      }
    }
  });
  t.x = rows;
}

int64_t StripRows(const WeightView& w, int64_t packed_strip_bytes) {
  if (!w.packed) return std::clamp<int64_t>(kStripBytes / w.row_bytes, 4, 64);
  return std::max<int64_t>(1, packed_strip_bytes / (kPackedRows * w.row_bytes)) * kPackedRows;
}

}  // namespace

void MatmulRows(const OpContext& ctx, const MatrixView& x, std::span<const MatmulTarget> targets) {
  auto* prepared = static_cast<RowsTarget*>(ctx.workspace->Shared(0, targets.size() * sizeof(RowsTarget)));
  int64_t bytes = 0, n_strips = 0;
  for (const MatmulTarget& target : targets) bytes += target.weight.rows * target.weight.row_bytes;
  const int64_t packed_strip_bytes = std::min(kPackedStripBytes, bytes / (ctx.pool->n_threads() * kPackedStrips));
  for (size_t i = 0; i < targets.size(); ++i) {
    const WeightView& w = targets[i].weight;
    RowsTarget& t = prepared[i];
    t.target = &targets[i];
    size_t same = 0;
    while (XType(targets[same].weight) != XType(w)) ++same;
    if (same < i) {
      t.x = prepared[same].x;
      t.x_row_bytes = prepared[same].x_row_bytes;
    } else {
      PrepareX(ctx, x, XType(w), static_cast<int>(1 + i), t);
    }
    t.strip_rows = StripRows(w, packed_strip_bytes);
    n_strips += (w.rows + t.strip_rows - 1) / t.strip_rows;
    t.strip_end = n_strips;
  }
  const RowsJob job{{prepared, targets.size()}, x.rows, x.cols};
  ctx.pool->ParallelFor(n_strips, [&job](int64_t strip, int) { RunStrip(job, strip); });
}

Status Matmul(const OpContext& ctx, MatmulPath path, const MatrixView& x, std::span<const MatmulTarget> targets) {
  if (path == MatmulPath::kTiles) {
    MatmulTiles(ctx, x, targets);
  } else {
    MatmulRows(ctx, x, targets);
  }
  return OkStatus();
}

}  // namespace arkvale::cpu
