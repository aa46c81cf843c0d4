// PagedKv: what attention kernels see of the cache. Plain data, passed by value; CPU and CUDA twins share the address
// arithmetic below.
//
// K and V live in pools of blocks. A block holds `block_tokens` tokens of `heads_per_block` kv heads:
//   K block: [heads_per_block, block_tokens, head_dim_k]      V block: [heads_per_block, block_tokens, head_dim_v]
// A page of `page_tokens` tokens is a part of a block (page_tokens divides block_tokens):
//   page id = block * (block_tokens / page_tokens) + part.
// In RAM a block is 64 tokens of all kv heads of a layer; in a tier with slots it is one page of one group.
//
// A *row* is one (sequence, group) pair: the `heads_per_row` kv heads from head0[row] on, which share one page list.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/host_device.h"

namespace arkvale {

struct PagedKv {
  const std::byte* k_base = nullptr;
  const std::byte* v_base = nullptr;
  DType dtype = DType::kF16;  // f16, f32, or q8_0 or q4_0 (base/dtype.h) of head dims that are multiples of 32
  int32_t block_tokens = 64;
  int32_t page_tokens = 64;
  int32_t heads_per_block = 1;
  int32_t heads_per_row = 1;
  int32_t head_dim_k = 0;
  int32_t head_dim_v = 0;

  int32_t n_rows = 0;
  const int32_t* head0 = nullptr;             // [n_rows] index inside a block
  const int64_t* page_begin = nullptr;        // [n_rows + 1] where a row's list starts in the arrays below
  const int32_t* page_ids = nullptr;          // [page_begin[n_rows]]
  const int64_t* page_positions = nullptr;    // [page_begin[n_rows]] position of each page's first token; increasing
                                              // inside a row
  const int32_t* last_page_tokens = nullptr;  // [n_rows] tokens in a row's last page, 1..page_tokens; others are full
  const int32_t* first_page_skip = nullptr;   // [n_rows] tokens of a row's first page that must not be read (sliding
                                              // windows), or null for none
};

// From a token's K or V of one head to the next token's.
ARKVALE_HOST_DEVICE inline int64_t KeyRowBytes(const PagedKv& kv) { return DTypeRowBytes(kv.dtype, kv.head_dim_k); }
ARKVALE_HOST_DEVICE inline int64_t ValueRowBytes(const PagedKv& kv) { return DTypeRowBytes(kv.dtype, kv.head_dim_v); }

// First byte of token 0 of a page for one kv head (head counts inside the block).
ARKVALE_HOST_DEVICE inline const std::byte* KeyPage(const PagedKv& kv, int32_t page_id, int32_t head) {
  const int32_t parts = kv.block_tokens / kv.page_tokens;
  const int64_t block = page_id / parts, part = page_id % parts;
  const int64_t token = (block * kv.heads_per_block + head) * kv.block_tokens + part * kv.page_tokens;
  return kv.k_base + token * KeyRowBytes(kv);
}
ARKVALE_HOST_DEVICE inline const std::byte* ValuePage(const PagedKv& kv, int32_t page_id, int32_t head) {
  const int32_t parts = kv.block_tokens / kv.page_tokens;
  const int64_t block = page_id / parts, part = page_id % parts;
  const int64_t token = (block * kv.heads_per_block + head) * kv.block_tokens + part * kv.page_tokens;
  return kv.v_base + token * ValueRowBytes(kv);
}

}  // namespace arkvale
