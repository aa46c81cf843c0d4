#include "kv/block_list.h"

#include <algorithm>

#include "ops/convert.h"

namespace arkvale {

void StoreRows(ThreadPool& pool, const BlockPool& blocks_pool, const KvLayerShape& shape, const BlockList& list,
               int64_t position0, const MatrixView& k, const MatrixView& v) {
  constexpr int64_t kRowsPerTask = 16;
  const int64_t n = k.rows;
  const auto store = [&](int64_t task, int) {
    for (int64_t i = task * kRowsPerTask; i < std::min(n, (task + 1) * kRowsPerTask); ++i) {
      const BlockId block = list.at(position0 + i);
      const int64_t token = (position0 + i) % kBlockTokens;
      std::byte* const kb = blocks_pool.k(block) + token * blocks_pool.k_row_bytes();
      std::byte* const vb = blocks_pool.v(block) + token * blocks_pool.v_row_bytes();
      for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
        ConvertRow(blocks_pool.dtype(), k.row(i) + h * shape.head_dim_k,
                   kb + h * kBlockTokens * blocks_pool.k_row_bytes(), shape.head_dim_k);
        ConvertRow(blocks_pool.dtype(), v.row(i) + h * shape.head_dim_v,
                   vb + h * kBlockTokens * blocks_pool.v_row_bytes(), shape.head_dim_v);
      }
    }
  };
  const int64_t n_tasks = (n + kRowsPerTask - 1) / kRowsPerTask;
  if (n_tasks == 1) {
    store(0, 0);
  } else {
    pool.ParallelFor(n_tasks, store);
  }
}

PagedKv BlockLayout(const BlockPool& pool, const KvLayerShape& shape) {
  PagedKv kv;
  kv.k_base = pool.k_base();
  kv.v_base = pool.v_base();
  kv.dtype = pool.dtype();
  kv.block_tokens = kBlockTokens;
  kv.page_tokens = kBlockTokens;
  kv.heads_per_block = shape.n_kv_heads;
  kv.heads_per_row = shape.n_kv_heads;
  kv.head_dim_k = shape.head_dim_k;
  kv.head_dim_v = shape.head_dim_v;
  return kv;
}

}  // namespace arkvale
