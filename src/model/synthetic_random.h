// Random models of every supported architecture and shape.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf_writer.h"
#include "model/synthetic_tensor.h"

namespace arkvale {

struct SyntheticShape {
  int64_t n_layers = 0, d_model = 0, d_ff = 0;
  int64_t n_q_heads = 0, n_kv_heads = 0, head_dim = 0;
  int64_t n_vocab = 0, context_tokens = 0;
  int64_t n_experts = 0, n_experts_used = 0;  // 0: dense; else d_ff is each expert's
  float freq_base = 10000.0f;
  bool tied = false;  // no output matrix: the embedding is the output too
};

// How an architecture's file differs from llama's.
struct SyntheticArch {
  std::string_view name;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool post_norms = false;
  bool fused = false;             // phi3: one matrix for q, k and v and one for gate and up
  bool scaled_embedding = false;  // the model multiplies embeddings by sqrt(d_model)
  int32_t window = 0;             // tokens; 0 = every layer is global
  int32_t window_pattern = 0;     // every n-th layer is global; 0 = the architecture's own, which the file does not say
  bool softcap = false;           // of attention scores and logits
};

struct RandomModel {
  SyntheticShape shape;
  SyntheticArch arch;
  std::string_view rope;  // none, linear, yarn, llama3, longrope
  int32_t ggml_type = 0;  // of the matrices
  uint64_t seed = 0;

  // Every key but the vocabulary's.
  void AddKeys(GgufFileWriter& file) const;
  // In file order. Matrices are assembled from a pool of random blocks, so that a model of 8e9 weights takes as long as
  // its file takes to write.
  std::vector<SyntheticTensor> Tensors() const;
};

}  // namespace arkvale
