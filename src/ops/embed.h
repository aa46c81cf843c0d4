// Embed: token ids -> rows of the embedding table.
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"
#include "ops/weight.h"

namespace arkvale {

// out[i, :] = scale * dequantise(table[ids[i], :]). out: [ids.size(), table.cols].
// Errors: InvalidArgument when an id is outside [0, table.rows), shapes disagree or the type is unknown.
Status Embed(const OpContext& ctx, const WeightView& table, std::span<const int32_t> ids, float scale,
             const MatrixView& out);

}  // namespace arkvale
