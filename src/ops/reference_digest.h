// Naive double twins of the digest ops: what tests compare the kernels with.
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/kv_options.h"

namespace arkvale::reference {

// Vectors of a digest of keys [p, d], unrounded, the second behind the first (ops/digest.h).
std::vector<double> BuildDigest(DigestKind kind, const std::vector<double>& keys, int64_t p, int64_t d);

// Score of q [d] against the vectors of one digest that is no code.
double ScoreDigest(DigestKind kind, const std::vector<double>& digest, const std::vector<double>& q);

// Codes [p, d] of keys [p, d] against the (rounded) vectors: 0..1 for code1, 0..3 for code2.
std::vector<int> BuildCodes(DigestKind kind, const std::vector<double>& digest, const std::vector<double>& keys,
                            int64_t d);

// Largest q.k over the keys as the codes rebuild them.
double ScoreCodes(DigestKind kind, const std::vector<double>& digest, const std::vector<int>& codes,
                  const std::vector<double>& q);

}  // namespace arkvale::reference
