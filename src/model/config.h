// ModelConfig: everything RunLayer must know of an architecture, read from GGUF metadata. Weights: weights.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "kv/shape.h"
#include "ops/glu.h"
#include "ops/rope.h"

namespace arkvale {

struct LayerConfig {
  int32_t window = 0;  // sliding window in tokens, the current one counted; 0 = full attention
  RopeParams rope;
};

// Tensors that divide RoPE's angles.
enum class RopeFactors : uint8_t {
  kNone,
  kFreqs,  // rope_freqs.weight (llama 3.x)
  kShort,  // rope_factors_short.weight: LongRoPE (arXiv 2402.13753) for contexts up to the original one
  kLong,   // rope_factors_long.weight: for longer ones
};

struct ModelConfig {
  std::string architecture;  // GGUF's general.architecture, one of SupportedArchitectures()
  std::string name;
  int32_t n_layers = 0;
  int32_t n_vocab = 0;
  int32_t d_model = 0;
  int32_t d_ff = 0;
  int32_t n_q_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim_k = 0;
  int32_t head_dim_v = 0;
  int64_t context_tokens = 0;  // longest context, rope scaling included
  float rms_eps = 0.0f;
  float attention_scale = 0.0f;  // scores are scale * q.k
  float embedding_scale = 1.0f;
  float attention_softcap = 0.0f;  // attention scores = cap * tanh(scores / cap); 0 = none
  float final_softcap = 0.0f;      // logits = cap * tanh(logits / cap); 0 = none
  GluKind glu = GluKind::kSilu;
  bool qk_norm = false;                           // RMS norm of each q and k head before RoPE
  bool post_norms = false;                        // RMS norm of attention and ffn output before the residual connection
  bool qkv_bias = false;                          // q, k and v projections add a bias
  bool fused_gate_up = false;                     // ffn_up holds the rows of gate, then those of up (phi3)
  RopeFactors rope_factors = RopeFactors::kNone;  // where the file has such a tensor
  // Mixture of experts: n_experts = 0 is a dense FFN of d_ff, else each token goes to n_experts_used of n_experts, each
  // of d_ff_expert.
  int32_t n_experts = 0;
  int32_t n_experts_used = 0;
  int32_t d_ff_expert = 0;
  std::vector<LayerConfig> layers;

  KvShape kv_shape() const;
};

class GgufView;

// The architectures that ReadConfig knows, by GGUF's names.
std::span<const std::string_view> SupportedArchitectures();

// Replaces what the file says of rope scaling, as llama.cpp's --rope-scaling and --rope-scale do: positions are divided
// by `factor`, and YaRN's original context is the file's.
struct RopeOverride {
  RopeScaling scaling = RopeScaling::kModel;
  float factor = 0.0f;         // 0 = the file's
  int64_t context_tokens = 0;  // the context that will be used; it picks long or short factors. 0 = the longest
};

// The config of a file's metadata; rope.freq_factors stay null (they are weights: transformer.cc sets them).
// Corrupt: a key is missing, of another type or contradicts another. InvalidArgument: what the file asks for is not
// supported, by name (architecture, a kind of experts or of rope scaling, ALiBi, per-layer values).
Result<ModelConfig> ReadConfig(const GgufView& file, const RopeOverride& rope = {});

}  // namespace arkvale
