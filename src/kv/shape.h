// What the cache must know of a model: the shape of each layer's K and V and how it attends.
#pragma once

#include <cstdint>
#include <vector>

namespace arkvale {

struct KvLayerShape {
  int32_t n_q_heads = 0;
  int32_t n_kv_heads = 0;  // divides n_q_heads
  int32_t head_dim_k = 0;
  int32_t head_dim_v = 0;
  float scale = 0.0f;    // attention scores are scale * q.k
  int32_t window = 0;    // sliding window in tokens, the current one counted; 0 = full attention
  float softcap = 0.0f;  // scores become softcap * tanh(score / softcap) (gemma2); 0 = none

  int32_t q_per_kv() const { return n_q_heads / n_kv_heads; }
};

struct KvShape {
  std::vector<KvLayerShape> layers;
  int32_t n_layers() const { return static_cast<int32_t>(layers.size()); }
};

}  // namespace arkvale
