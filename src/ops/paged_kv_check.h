// Checks of a PagedKv that every attention op makes before it dispatches.
#pragma once

#include "arkvale/status.h"
#include "ops/paged_kv.h"

namespace arkvale {

// InvalidArgument unless the shapes fit together and each row's list is well formed. Page ids are checked for sign
// only: the size of the pools is not known here.
Status CheckPagedKv(const char* op, const PagedKv& kv);

// The same for an op that reads K only and takes a softmax of scores: V may be null; also checks the query heads per kv
// head, and that scale and softcap are numbers.
Status CheckScoredKeys(const char* op, PagedKv kv, int32_t q_heads_per_kv_head, float scale, float softcap);

// InvalidArgument unless each row's pages have increasing positions and do not overlap. Of a kv that passed the above.
Status CheckPagePositions(const char* op, const PagedKv& kv);

}  // namespace arkvale
