// What the cache must know of a model: the shape of each layer's K and V and how it attends; and the type in which it
// keeps them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"

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
  // K and V of one token, all heads.
  int64_t token_bytes(DType dtype) const {
    return n_kv_heads * (DTypeRowBytes(dtype, head_dim_k) + DTypeRowBytes(dtype, head_dim_v));
  }
};

struct KvShape {
  std::vector<KvLayerShape> layers;
  DType dtype = DType::kF16;  // of K and V: kF16, or kQ8 or kQ4 where every head dim is a multiple of kQuantBlock

  int32_t n_layers() const { return static_cast<int32_t>(layers.size()); }
};

}  // namespace arkvale
