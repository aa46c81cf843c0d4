// Checks of a PagedKv that every attention op makes before it dispatches.
#pragma once

#include "arkvale/status.h"
#include "ops/paged_kv.h"

namespace arkvale {

// InvalidArgument unless the shapes fit together and each row's list is well formed. Page ids are checked for sign
// only: the size of the pools is not known here.
Status CheckPagedKv(const char* op, const PagedKv& kv);

}  // namespace arkvale
