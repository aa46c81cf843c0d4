// What the files of the CPU matmul share.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul.h"

namespace arkvale::cpu {

bool MatmulSupports(int32_t ggml_type);

// The two paths; arguments are checked, x.rows > 0 and there is a target.
void MatmulTiles(const OpContext& ctx, const MatrixView& x, std::span<const MatmulTarget> targets);
void MatmulRows(const OpContext& ctx, const MatrixView& x, std::span<const MatmulTarget> targets);

// Columns of x as the step path multiplies packed weights with them: x[i] * scale, rounded to 16 bits.
inline constexpr int64_t kStepColumns = 32;
struct StepBlock {
  int16_t x[kStepColumns];
  int32_t first_sum, second_sum, sum;  // of x[0..16), x[16..32) and all
  float scale;                         // largest magnitude / 32767; NaN where a column was not finite
  float scaled_sum;                    // scale * sum
};

// out[cols / kStepColumns]; cols a multiple of kStepColumns.
void RoundStepRow(const float* row, int64_t cols, StepBlock* out);

// Rows [16 begin, 16 end) of a packed target for n rows of x [n, cols / kStepColumns].
void MultiplyPackedGroups(const MatmulTarget& target, const StepBlock* x, int64_t n, int64_t begin, int64_t end);

// Inputs that one pass over a tile covers: a panel of x (kTileDepth x 2 vectors of tokens, 32 KB with AVX-512) stays in
// L1 while all features of a strip read it. A multiple of every GGUF block.
inline constexpr int64_t kTileDepth = 256;

}  // namespace arkvale::cpu
