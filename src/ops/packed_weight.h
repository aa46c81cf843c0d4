// Packed weights: a quantised matrix laid out anew, so that decode steps multiply it at the speed of memory.
//
// Rows are packed in groups of 16: a vector lane is a row (two half groups with 8 lanes), so no product is ever summed
// across lanes, and scales are applied to 16 rows at once. All types become unsigned codes and
//   weight = scale * (code - zero) + offset.
// A group is its columns in *spans*, one after the other; a span is the 32 columns of a block of the old types, or the
// 256 of a K-quant:
//   q4_0 q5_0 q8_0    scale f16[16]                                                 then codes of 32 columns
//   q4_1 q5_1         scale f16[16], offset f16[16]                                 then codes of 32 columns
//   q4_K q5_K         d f16[16], dmin f16[16], scales u8[8][16], mins u8[8][16]     then 8 x codes of 32 columns
//                     scale = d * scales[b], offset = -dmin * mins[b] of the columns' block b of 32
//   q6_K              d f16[16], scales i8[16][16]                                  then 8 x codes of 32 columns
//                     scale = d * scales[b] of the columns' block b of 16
// Codes of 32 columns of 16 rows, u32 words [word][row]:
//   low 4 bits        4 words per row; word w, columns c = 8 w ..: nibbles from bit 0 up are c, c+2, c+4, c+6, c+1,
//   c+3,
//                     c+5, c+7. So word >> 4 j & 0x000f000f are the columns c + 2 j and c + 2 j + 1 as two 16-bit
//                     numbers
//   5th bit           1 word per row after them: bit j is column 2 j, bit 16 + j column 2 j + 1
//   5th and 6th bit   2 words per row: word w, bits 2 j and 2 j + 1 are column 16 w + 2 j, those 16 higher the next one
//   8 bits            8 words per row (instead of the 4): bytes from bit 0 up are the columns c, c+2, c+1, c+3, c = 4 w
// Zero is 8 (q4_0), 16 (q5_0), 32 (q6_K), 128 (q8_0) and 0 (the others). Rows beyond the matrix are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace arkvale {

// Bytes that the packed form of `w` takes; 0 where its type (or its columns, which must fill spans) cannot be packed.
// The packed bytes of a row, groups / 16, are in every type those of GGUF but for q4_K and q5_K (4 bytes more per 256).
int64_t PackedBytes(const WeightView& w);

// Writes groups [begin, end) of `w`, whose PackedBytes are > 0, into `dst`, which holds the whole packed matrix: groups
// may be packed by several threads. Source bytes are only read. Align `dst` to 64 bytes: every address gives the same
// bits, but off a multiple of 32 a step with q8_0 takes up to a fifth longer.
void PackGroups(const WeightView& w, int64_t begin, int64_t end, std::byte* dst);
int64_t PackedGroups(const WeightView& w);

// The view of the packed form of `w` at `data`, the `dst` of PackGroups and aligned as that.
WeightView PackedView(const WeightView& w, const std::byte* data);

}  // namespace arkvale
