#include "model/packed_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <utility>

#include "model/mapped_file.h"
#include "ops/packed_weight.h"

namespace arkvale {

namespace {

constexpr int64_t kMatrixAlign = 64;  // a cache line

int64_t Aligned(int64_t bytes) { return (bytes + kMatrixAlign - 1) / kMatrixAlign * kMatrixAlign; }

// Calls visit(matrix, n) for every matrix that may be packed; it is multiplied in `n` runs of rows (experts) of equal
// length, of which a step reads those that are chosen.
template <typename W, typename Visit>  // Weights or const Weights
void ForEachMatrix(W& weights, const ModelConfig& config, const Visit& visit) {
  const int64_t n = std::max(1, config.n_experts);
  for (auto& layer : weights.layers) {
    for (auto* linear : {&layer.q, &layer.k, &layer.v, &layer.o}) visit(linear->weight, 1);
    for (auto* linear : {&layer.gate, &layer.up, &layer.down}) visit(linear->weight, n);
  }
  visit(weights.output.weight, 1);
}

// As ops/packed_weight.h, but 0 too where a run of rows would begin inside a group.
int64_t BytesOf(const WeightView& matrix, int64_t n_runs) {
  return n_runs > 1 && matrix.rows / n_runs % kPackedRows != 0 ? 0 : PackedBytes(matrix);
}

void PackMatrix(ThreadPool& pool, const WeightView& matrix, std::byte* to) {
  constexpr int64_t kStripGroups = 4;
  const int64_t n_groups = PackedGroups(matrix);
  pool.ParallelFor((n_groups + kStripGroups - 1) / kStripGroups, [&](int64_t strip, int) {
    const int64_t begin = strip * kStripGroups;
    PackGroups(matrix, begin, std::min(n_groups, begin + kStripGroups), to);
  });
}

}  // namespace

int64_t PackedWeights::Bytes(const ModelConfig& config, const Weights& weights) {
  int64_t bytes = 0;
  ForEachMatrix(weights, config,
                [&](const WeightView& matrix, int64_t n_runs) { bytes += Aligned(BytesOf(matrix, n_runs)); });
  return bytes;
}

Result<PackedWeights> PackedWeights::Pack(ThreadPool& pool, const ModelConfig& config, Weights& weights) {
  const auto bytes = static_cast<size_t>(Bytes(config, weights));
  Memory memory;
  if (bytes > 0) {
    memory.reset(static_cast<std::byte*>(::operator new(bytes, kAlign, std::nothrow)));
    if (memory == nullptr) return ResourceExhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
    madvise(memory.get(), bytes, MADV_HUGEPAGE);  // a wish: small pages do too
  }
  std::byte* to = memory.get();
  ForEachMatrix(weights, config, [&](WeightView& matrix, int64_t n_runs) {
    const int64_t packed_bytes = BytesOf(matrix, n_runs), file_bytes = matrix.rows * matrix.row_bytes;
    if (packed_bytes == 0) return;
    PackMatrix(pool, matrix, to);
    MappedFile::Drop({static_cast<const std::byte*>(matrix.data), static_cast<size_t>(file_bytes)});
    matrix = PackedView(matrix, to);
    to += Aligned(packed_bytes);
    weights.step_bytes += (packed_bytes - file_bytes) / n_runs * (n_runs > 1 ? config.n_experts_used : 1);
  });
  return PackedWeights(std::move(memory));
}

}  // namespace arkvale
