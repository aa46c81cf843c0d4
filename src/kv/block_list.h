// BlockList: the blocks of one (sequence, layer) in position order, and storing rows into them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/matrix_view.h"
#include "base/thread_pool.h"
#include "kv/block_pool.h"
#include "kv/ids.h"
#include "kv/shape.h"
#include "ops/paged_kv.h"

namespace arkvale {

// blocks[i] holds positions (first + i) * 64 .. + 63. Sliding-window layers drop blocks at the front.
struct BlockList {
  std::vector<BlockId> blocks;
  int64_t first = 0;

  BlockId at(int64_t position) const { return blocks[position / kBlockTokens - first]; }
  int64_t end_position() const { return (first + static_cast<int64_t>(blocks.size())) * kBlockTokens; }
  // Page id (ops/paged_kv.h) of logical page `page` of `page_tokens` tokens.
  int32_t PageId(int64_t page, int32_t page_tokens) const {
    const int64_t position = page * page_tokens;
    const int32_t parts = kBlockTokens / page_tokens;
    return at(position).value() * parts + static_cast<int32_t>(position % kBlockTokens) / page_tokens;
  }
};

// Writes rows (k [n, heads * head_dim_k], v [n, heads * head_dim_v]) in the pool's type to positions position0...; the
// blocks exist.
void StoreRows(ThreadPool& pool, const BlockPool& blocks_pool, const KvLayerShape& shape, const BlockList& list,
               int64_t position0, const MatrixView& k, const MatrixView& v);

// Blocks read in place as pages of 64 tokens, all kv heads in one row.
PagedKv BlockLayout(const BlockPool& pool, const KvLayerShape& shape);

}  // namespace arkvale
