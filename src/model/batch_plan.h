// BatchPlan: which rows of a batch take which matmul path and which get logits. Pure bookkeeping, no maths.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "kv/cache.h"
#include "model/transformer.h"
#include "ops/matmul.h"

namespace arkvale {

// Consecutive rows of one path.
struct RowSpan {
  int64_t begin = 0;
  int64_t end = 0;
  MatmulPath path = MatmulPath::kRows;
  bool operator==(const RowSpan&) const = default;
};

struct RowSet {
  int64_t n = 0;
  std::vector<RowSpan> spans;  // cover 0..n-1 in order

  void Clear();
  // Appends `count` rows; joins the last span where the path is the same.
  void Add(int64_t count, MatmulPath path);
};

// The path is chosen by phase, so that a row's bits never depend on its neighbours: prefill rows take tiles, steps take
// row products. The output matmul is the exception: a kLast row takes row products in either phase (tiles would
// dequantise the whole head for one row), kAll rows of a prefill take tiles. So the logits of one position may differ
// in their last bits between kLast and kAll, never between chunk sizes or batches.
struct BatchPlan {
  std::vector<KvBatchItem> kv_items;
  std::vector<int32_t> ids;          // every row's token
  RowSet all;                        // every row
  std::vector<int64_t> wanted_rows;  // rows that get logits, increasing
  RowSet wanted;                     // those rows, for the last layer
  RowSet output;                     // those rows, for the output matmul

  // InvalidArgument: no tokens, several tokens in a step, an id outside [0, n_vocab).
  Status Set(std::span<const ForwardItem> items, int32_t n_vocab);
};

}  // namespace arkvale
