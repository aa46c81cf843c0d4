// WeighScores: the softmax of one row of scores before it is normalised.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

namespace arkvale {

struct ScoreWeights {
  float top = -std::numeric_limits<float>::infinity();  // the largest score; -inf: no score is above it, all weights 0
  double sum = 0;                                       // of the weights
};

// s_i = scale * x_i, and softcap * tanh(s_i / softcap) where softcap > 0; a NaN counts as -inf.
// weights[i] = exp(s_i - top), 1 where s_i = top; as many as there are x. In f32: a weight is off by a few units in its
// last place, beside what s_i itself was rounded by. Bits depend on the row alone. x and weights may be the same.
ScoreWeights WeighScores(std::span<const float> x, float scale, float softcap, std::span<float> weights);

}  // namespace arkvale
