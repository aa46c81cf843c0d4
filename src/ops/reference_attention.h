// Naive double twins of the attention ops: what tests compare the kernels with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/paged_kv.h"
#include "ops/score_weights.h"

namespace arkvale::reference {

// Attention of one query. `top` is the largest |score| met, which bounds the error an f32 twin may make.
struct Attended {
  std::vector<double> out;  // [head_dim_v], 0 when nothing was attended
  double lse = 0;           // natural, -inf when nothing was attended
  double top = 0;
  double largest_value = 0;  // largest |v| met
};

// One query head q [head_dim_k] of kv head `head` of a row against the row's listed tokens whose position lies in
// [from, to]. softcap > 0: scores become softcap * tanh(score / softcap).
Attended Attend(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale, int64_t from = 0,
                int64_t to = INT64_MAX, double softcap = 0);

// Score of one listed token, after scale and softcap, and scale * q.k before the cap.
struct TokenScore {
  int64_t position;
  double score, uncapped;
};

// Of one query head and each of those tokens, in list order.
std::vector<TokenScore> TokenScores(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale,
                                    double softcap, int64_t to);

// Largest q.k over those tokens, -inf when there is none.
double LargestDot(const PagedKv& kv, int32_t row, int32_t head, const float* q, int64_t from, int64_t to);

// arkvale::WeighScores, one score at a time.
ScoreWeights WeighScores(std::span<const float> x, float scale, float softcap, std::span<float> weights);

}  // namespace arkvale::reference
