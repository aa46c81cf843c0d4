// Kinds, types and shapes of digests that the tests of their ops compare with the reference and their benchmarks time.
#pragma once

#include <cmath>

#include "ops/digest_test_util.h"

namespace arkvale::test {

inline constexpr DigestKind kVectorKinds[] = {
    DigestKind::kCentroid,  DigestKind::kSphereMax,    DigestKind::kSphereCenter, DigestKind::kSphereMean,
    DigestKind::kCuboidMax, DigestKind::kCuboidCenter, DigestKind::kCuboidMean};
inline constexpr DigestKind kCodeKinds[] = {DigestKind::kCode1, DigestKind::kCode2};
inline constexpr DigestType kDigestTypes[] = {DigestType::kF16, DigestType::kF32, DigestType::kQ8};

// Pages of `p` tokens, heads of `d` dimensions, query heads.
struct DigestCase {
  int32_t p, d, heads;
};
inline constexpr DigestCase kDigestShapes[] = {
    {1, 64, 3}, {8, 64, 1}, {16, 40, 4}, {32, 80, 8}, {64, 256, 4}, {3, 5, 2}, {7, 128, 7},
};
// Codes need multiples of 8.
inline constexpr DigestCase kCodeShapes[] = {
    {8, 8, 1},    {32, 64, 3}, {16, 40, 4}, {64, 80, 2}, {32, 128, 5}, {8, 256, 8},
    {64, 256, 1}, {24, 72, 3}, {16, 16, 7}, {32, 56, 1}, {8, 24, 2},   {32, 96, 4},
};

// The bound that ops/digest.h promises, and the f32 roundings of the dot product with the vectors.
inline double CodeScoreError(const Digests& digests, int64_t page, const std::vector<double>& q) {
  const auto v = digests.Values(page);
  const auto d = static_cast<double>(q.size());
  const bool two = digests.shape.kind == DigestKind::kCode2;
  const double widths = Norm({v.begin() + digests.shape.d, v.end()});
  return d * (two ? 4.5 : 3.0) * Norm(q) * widths / 31000 + 0x1p-23 * (4 + std::sqrt(2 * d)) * 2 * Norm(q) * Norm(v);
}

}  // namespace arkvale::test
