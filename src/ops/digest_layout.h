// How a page's digest lies in memory: what the builders write and the scorers read.
//
// Vectors, f16 and f32: the elements of both one after the other (kinds in digest.h).
// Vectors, q8: an f16 scale per vector, then the int8 elements of the first vector, then those of the second. Cuboids
// are stored as centre and half width rho >= 0, so that b+ >= b- whatever is rounded. A sphere's r is one f16, in the
// place of the second scale.
// Planes: blocks of 32 dimensions, the last one padded with 0; in a block a 32-bit little-endian word per token, whose
// bit t is dimension t of the block. One shift and mask of a vector of words thus gives all its tokens' codes of
// dimensions j and 16 + j as pairs of 16-bit integers, what integer multiply-adds take.
#pragma once

#include <cstdint>

#include "ops/digest.h"

namespace arkvale {

inline constexpr int64_t kCodeBlock = 32;  // dimensions

inline bool IsCuboid(DigestKind kind) {
  return kind == DigestKind::kCuboidMax || kind == DigestKind::kCuboidCenter || kind == DigestKind::kCuboidMean;
}

inline bool IsSphere(DigestKind kind) {
  return kind == DigestKind::kSphereMax || kind == DigestKind::kSphereCenter || kind == DigestKind::kSphereMean;
}

// Elements of the second vector: r of a sphere is one.
inline int64_t SecondLength(DigestKind kind, int64_t head_dim) {
  if (kind == DigestKind::kCentroid) return 0;
  return IsCuboid(kind) || IsCode(kind) ? head_dim : 1;
}
// Elements of both vectors.
inline int64_t DigestLength(DigestKind kind, int64_t head_dim) { return head_dim + SecondLength(kind, head_dim); }

// Where the int8 elements start in q8 vectors: behind the scales.
inline int64_t Q8HeaderBytes(DigestKind kind) { return kind == DigestKind::kCentroid ? 2 : 4; }

inline int64_t CodeBlocks(int64_t head_dim) { return (head_dim + kCodeBlock - 1) / kCodeBlock; }
// Where the bit of a token and dimension lies in a plane.
inline int64_t CodeByte(int64_t page_tokens, int64_t token, int64_t dim) {
  return (dim / kCodeBlock * page_tokens + token) * 4 + dim % kCodeBlock / 8;
}
inline int CodeBit(int64_t dim) { return static_cast<int>(dim % 8); }

inline int64_t WantedPages(const DigestScoreItem& item) {
  return item.pages.empty() ? item.n_pages : static_cast<int64_t>(item.pages.size());
}

// The two vectors of a box: [b+ | b-] of cuboids, [c | rho] of code1 and of cuboids in q8, [m | w] of code2.
enum class BoxForm { kBounds, kCentre, kQuarters };

inline BoxForm FormOf(DigestKind kind, DigestType type) {
  if (kind == DigestKind::kCode2) return BoxForm::kQuarters;
  return kind == DigestKind::kCode1 || type == DigestType::kQ8 ? BoxForm::kCentre : BoxForm::kBounds;
}

// Rounds `values` [DigestLength] to nearest in the digest's type; cuboids in q8 come as [c | rho]. A q8 element is off
// by at most half its vector's scale, which is the least f16 >= max |v| / 127.
void WriteDigestVectors(DigestKind kind, DigestType type, int64_t head_dim, const float* values, void* vectors);
// What scoring sees of them.
void ReadDigestVectors(DigestKind kind, DigestType type, int64_t head_dim, const void* vectors, float* values);

}  // namespace arkvale
