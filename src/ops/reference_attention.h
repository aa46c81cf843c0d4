// Naive double twins of the attention and digest ops: what tests compare the kernels with.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/digest.h"
#include "ops/paged_kv.h"

namespace arkvale::reference {

// Attention of one query. `top` is the largest |score| met, which bounds the error an f32 twin may make.
struct Attended {
  std::vector<double> out;  // [head_dim_v], 0 when nothing was attended
  double lse = 0;           // natural, -inf when nothing was attended
  double top = 0;
  double largest_value = 0;  // largest |v| met
};

// One query head q [head_dim_k] of kv head `head` of a row against the row's listed tokens whose position lies in
// [from, to].
Attended Attend(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale, int64_t from = 0,
                int64_t to = INT64_MAX);

// Digest of keys [p, d], unrounded, in DigestLength's layout.
std::vector<double> BuildDigest(DigestKind kind, const std::vector<double>& keys, int64_t p, int64_t d);

// Score of q [d] against one digest.
double ScoreDigest(DigestKind kind, const std::vector<double>& digest, const std::vector<double>& q);

}  // namespace arkvale::reference
