// How a page's value codes lie in memory: what the builder writes and attention reads.
//
// f16 lo[page_tokens], f16 st[page_tokens], then the codes in groups of 16 / bits tokens. A group has two bytes per
// dimension, dimensions padded with 0 to whole blocks of 32: byte e holds the tokens e, 2 + e, 4 + e .. of the group,
// from its low bits up. One shift and mask of a vector thus gives the tokens 2j and 2j + 1 of every dimension side by
// side, what multiply-adds of bytes take.
#pragma once

#include <cstdint>

namespace arkvale {

inline constexpr int64_t kValueBlock = 32;  // dimensions

inline int64_t ValueGroupTokens(int64_t bits) { return 16 / bits; }
// Dimensions that a group holds.
inline int64_t CodedDim(int64_t head_dim) { return (head_dim + kValueBlock - 1) / kValueBlock * kValueBlock; }
// Where the codes start in a page.
inline int64_t ValueHeaderBytes(int64_t page_tokens) { return 4 * page_tokens; }
inline int64_t ValueGroupBytes(int64_t head_dim) { return 2 * CodedDim(head_dim); }
// Where the code of a token and dimension lies: byte of the page, and its lowest bit there.
inline int64_t ValueCodeByte(int64_t bits, int64_t page_tokens, int64_t head_dim, int64_t token, int64_t dim) {
  return ValueHeaderBytes(page_tokens) + token / ValueGroupTokens(bits) * ValueGroupBytes(head_dim) + 2 * dim +
         token % 2;
}
inline int ValueCodeShift(int64_t bits, int64_t token) {
  return static_cast<int>(token % ValueGroupTokens(bits) / 2 * bits);
}

}  // namespace arkvale
