// What the files of the CPU matmul share.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul.h"

struct ggml_type_traits_cpu;

namespace arkvale::cpu {

bool MatmulSupports(int32_t ggml_type);

// ggml's dot product of a weight type, and the type that it reads x in.
const ggml_type_traits_cpu& CpuTraits(int32_t type);

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

// Inputs that one pass over a tile covers: the features that a register block multiplies (48 with AVX-512, 48 KB of the
// tile; 16 with AVX2, 16 KB) stay in the first caches while all tokens of a pass read them. A multiple of every GGUF
// block.
inline constexpr int64_t kTileDepth = 256;

}  // namespace arkvale::cpu
