#include "tools/bench/work.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

ModelConfig Small() {
  ModelConfig c;
  c.n_layers = 2;
  c.n_vocab = 100;
  c.d_model = 8;
  c.d_ff = 16;
  c.n_q_heads = 4;
  c.n_kv_heads = 2;
  c.head_dim_k = 3;
  c.head_dim_v = 5;
  c.layers.resize(2);
  return c;
}

// The same by counting: every token through every layer.
double Counted(const ModelConfig& c, int64_t n) {
  double products = double{8} * 100;
  for (int32_t l = 0; l < c.n_layers; ++l) {
    for (int64_t i = 0; i < n; ++i) {
      products += 8 * (4 * 3 + 2 * (3 + 5));
      if (l + 1 < c.n_layers || i + 1 == n) {
        products +=
            4 * 5 * 8 + (c.n_experts > 0 ? 8 * c.n_experts + 3 * 8 * c.d_ff_expert * c.n_experts_used : 3 * 8 * 16);
      }
      const int32_t window = c.layers[static_cast<size_t>(l)].window;
      const int64_t keys = window > 0 ? std::min<int64_t>(window, i + 1) : i + 1;
      products += static_cast<double>(4 * (3 + 5) * keys);
    }
  }
  return 2 * products;
}

TEST(PrefillFlops, AreWhatCountingGives) {
  for (const int32_t window : {0, 3, 50}) {
    for (const int32_t experts : {0, 6}) {
      ModelConfig c = Small();
      c.layers[1].window = window;
      c.n_experts = experts;
      c.n_experts_used = 2;
      c.d_ff_expert = 7;
      for (const int64_t n : {1, 2, 10}) EXPECT_EQ(PrefillFlops(c, n), Counted(c, n)) << window << " " << n;
    }
  }
}

}  // namespace
}  // namespace arkvale::tools
