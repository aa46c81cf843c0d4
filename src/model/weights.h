// Weights: where each matrix and norm of a model lies in its mapped file.
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/status.h"
#include "model/config.h"
#include "ops/weight.h"

namespace arkvale {

class GgufView;

struct Linear {
  WeightView weight;            // [out, in]
  const float* bias = nullptr;  // [out], or null where the file has none
};

// Norms are [d] f32, null where the architecture has none.
struct LayerWeights {
  const float* attn_norm = nullptr;
  Linear q, k, v, o;
  const float* q_norm = nullptr;  // [head_dim_k]
  const float* k_norm = nullptr;  // [head_dim_k]
  const float* attn_post_norm = nullptr;
  const float* ffn_norm = nullptr;
  // A dense FFN, or with experts: `router` [n_experts, d_model] and the rows of all experts one after the other,
  // gate and up [n_experts * d_ff_expert, d_model], down [n_experts * d_model, d_ff_expert].
  Linear gate, up, down;
  Linear router;
  const float* ffn_post_norm = nullptr;
};

struct Weights {
  WeightView embedding;  // [n_vocab, d_model]
  Linear output;         // [n_vocab, d_model]; the embedding again where the file ties them
  const float* output_norm = nullptr;
  const float* rope_factors = nullptr;  // [n_rot/2] divisors as config.rope_factors says, or null
  std::vector<LayerWeights> layers;
  int64_t total_bytes = 0;
  // What one decode step reads: all but an embedding table that is not the output and experts that are not chosen.
  int64_t step_bytes = 0;
};

// Finds every tensor of the config and checks its shape; views borrow the file's bytes.
// Corrupt: a tensor is missing or has another shape. InvalidArgument: a type without a kernel, or a tensor that we
// would ignore (an expert's bias, a shared expert, an adapter): a wrong answer otherwise.
Result<Weights> BindWeights(const GgufView& file, const ModelConfig& config);

}  // namespace arkvale
