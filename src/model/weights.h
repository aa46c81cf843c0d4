// Weights: where each matrix and norm of a model lies in its mapped file.
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/status.h"
#include "model/config.h"
#include "ops/weight.h"

namespace arkvale {

class GgufView;

// Matrices are [out, in]. Norms are [d] f32, null where the architecture has none.
struct LayerWeights {
  const float* attn_norm = nullptr;
  WeightView q, k, v, o;
  const float* q_norm = nullptr;  // [head_dim_k]
  const float* k_norm = nullptr;  // [head_dim_k]
  const float* attn_post_norm = nullptr;
  const float* ffn_norm = nullptr;
  WeightView gate, up, down;
  const float* ffn_post_norm = nullptr;
};

struct Weights {
  WeightView embedding;  // [n_vocab, d_model]
  WeightView output;     // [n_vocab, d_model]; the embedding again where the file ties them
  const float* output_norm = nullptr;
  const float* rope_factors = nullptr;  // [n_rot/2] divisors (llama 3.x), or null
  std::vector<LayerWeights> layers;
  int64_t total_bytes = 0;
  int64_t step_bytes = 0;  // what one decode step reads: all but an embedding table that is not the output
};

// Finds every tensor of the config and checks its shape; views borrow the file's bytes.
// Corrupt: a tensor is missing or has another shape. InvalidArgument: a type without a kernel, or a tensor that we
// would ignore (a bias, a fused or expert matrix, an adapter): a wrong answer otherwise.
Result<Weights> BindWeights(const GgufView& file, const ModelConfig& config);

}  // namespace arkvale
