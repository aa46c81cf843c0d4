// ModelConfig: everything RunLayer must know of an architecture, read from GGUF metadata. Weights: weights.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"
#include "kv/shape.h"
#include "ops/glu.h"
#include "ops/rope.h"

namespace arkvale {

struct LayerConfig {
  int32_t window = 0;  // sliding window in tokens, the current one counted; 0 = full attention
  RopeParams rope;
};

struct ModelConfig {
  std::string architecture;  // GGUF's general.architecture: llama, gemma3
  std::string name;
  int32_t n_layers = 0;
  int32_t n_vocab = 0;
  int32_t d_model = 0;
  int32_t d_ff = 0;
  int32_t n_q_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim_k = 0;
  int32_t head_dim_v = 0;
  int64_t context_tokens = 0;  // longest context the model was trained for
  float rms_eps = 0.0f;
  float attention_scale = 0.0f;  // scores are scale * q.k
  float embedding_scale = 1.0f;
  float final_softcap = 0.0f;  // logits = cap * tanh(logits / cap); 0 = none
  GluKind glu = GluKind::kSilu;
  bool qk_norm = false;     // RMS norm of each q and k head before RoPE
  bool post_norms = false;  // RMS norm of attention and ffn output before the residual connection
  std::vector<LayerConfig> layers;

  KvShape kv_shape() const;
};

class GgufView;

// True for the architectures that ReadConfig knows.
bool ArchitectureSupported(std::string_view architecture);

// The config of a file's metadata; rope.freq_factors stay null (they are weights: transformer.cc sets them).
// Corrupt: a key is missing, of another type or contradicts another. InvalidArgument: what the file asks for is not
// supported, by name (architecture, experts, a kind of rope scaling, per-layer values).
Result<ModelConfig> ReadConfig(const GgufView& file);

}  // namespace arkvale
