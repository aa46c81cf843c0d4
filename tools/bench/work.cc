#include "tools/bench/work.h"

#include <algorithm>

namespace arkvale::tools {
namespace {

// Keys that tokens 0 .. n - 1 read together: token i reads i + 1, at most `window` where that is not 0.
double KeysRead(int64_t n, int32_t window) {
  const auto all = static_cast<double>(n);
  const auto w = static_cast<double>(window > 0 ? std::min<int64_t>(window, n) : n);
  return w * (w + 1) / 2 + (all - w) * w;
}

}  // namespace

double PrefillFlops(const ModelConfig& c, int64_t n_tokens) {
  const double d = c.d_model, q_heads = c.n_q_heads, kv_heads = c.n_kv_heads, dk = c.head_dim_k, dv = c.head_dim_v;
  const auto n = static_cast<double>(n_tokens);
  const double qkv_weights = d * (q_heads * dk + kv_heads * (dk + dv));
  const double ffn_weights = c.n_experts > 0 ? d * c.n_experts + 3.0 * d * c.d_ff_expert * c.n_experts_used  //
                                             : 3.0 * d * c.d_ff;
  const double out_weights = q_heads * dv * d + ffn_weights;
  // After its attention the last layer is needed for the last token only.
  const double weight_rows = c.n_layers * n * qkv_weights + ((c.n_layers - 1) * n + 1) * out_weights + d * c.n_vocab;
  double attention = 0;
  for (const LayerConfig& layer : c.layers) attention += q_heads * (dk + dv) * KeysRead(n_tokens, layer.window);
  return 2 * (weight_rows + attention);
}

}  // namespace arkvale::tools
