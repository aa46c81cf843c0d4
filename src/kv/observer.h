// KvObserver: sees the queries of a pass and the keys they meet, before attention. For measuring: it changes nothing.
#pragma once

#include <cstdint>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "kv/cache.h"
#include "ops/paged_kv.h"

namespace arkvale {

// The query of a step, or of the last token of a prefill, in one layer of full attention.
struct KvObservation {
  int32_t layer = 0;
  int32_t item = 0;  // of the batch given to KvCache::Begin
  KvPhase phase = KvPhase::kStep;
  int64_t n_tokens = 0;  // of the sequence, the query's own included
  MatrixView queries;    // [tokens of the item, n_q_heads * head_dim_k] post-RoPE, unscaled
  PagedKv kv;            // one row: every token of all kv heads, in pages of 64

  const float* q() const { return queries.row(queries.rows - 1); }  // the query: the last of them
};

class KvObserver {
 public:
  virtual ~KvObserver() = default;
  // Called on the thread of KvCache::Attend, which fails with what this returns. What it is given is valid until it
  // returns. Layers whose keys do not all lie in RAM, or were dropped, are not observed.
  virtual Status OnQuery(const KvObservation& observation) = 0;
};

}  // namespace arkvale
