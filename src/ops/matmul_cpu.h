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

// Inputs that one pass over a tile covers: a panel of x (kTileDepth x 2 vectors of tokens, 32 KB with AVX-512) stays in
// L1 while all features of a strip read it. A multiple of every GGUF block.
inline constexpr int64_t kTileDepth = 256;

}  // namespace arkvale::cpu
