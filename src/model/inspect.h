// InspectModel: what `arkvale inspect FILE` says about a GGUF file, loadable or not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

struct ModelSummary {
  std::string path, architecture, name;
  std::string fingerprint;  // fingerprint.h
  std::string file_type;   // most common weight type by bytes, as ggml names it: q4_1
  int64_t file_bytes = 0;  // of all parts of a split model
  int32_t n_files = 1;
  int64_t n_tensors = 0;
  int64_t weight_bytes = 0;  // all tensors
  struct TypeBytes {
    std::string type;
    int64_t n_tensors = 0;
    int64_t n_bytes = 0;
  };
  std::vector<TypeBytes> types;  // largest first
  int64_t n_tokens = 0;          // of the tokenizer; 0 without one
  std::string tokenizer;         // gpt2, llama, ...
  bool has_chat_template = false;

  // Why arkvale cannot run the file; empty where it can. The fields below are 0 then.
  std::string unsupported;
  int32_t n_layers = 0;
  int32_t n_sliding_layers = 0;
  int32_t window_tokens = 0;  // of the sliding layers
  int32_t d_model = 0, d_ff = 0, n_q_heads = 0, n_kv_heads = 0, head_dim_k = 0, head_dim_v = 0, n_vocab = 0;
  int32_t n_experts = 0, n_experts_used = 0, d_ff_expert = 0;  // 0: a dense FFN of d_ff
  float attention_softcap = 0.0f, final_softcap = 0.0f;        // 0: none
  int64_t context_tokens = 0;
  int64_t kv_bytes_per_token = 0;  // f16, layers with full attention only: what grows with the context
  int64_t kv_window_bytes = 0;     // f16, all sliding layers at a full window
};

// NotFound, Corrupt. A sound file that arkvale does not run is no error.
Result<ModelSummary> InspectModel(const std::string& path);

}  // namespace arkvale
