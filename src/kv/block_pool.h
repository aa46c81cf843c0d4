// BlockPool: RAM storage of one layer: blocks of 64 tokens of all its kv heads, K and V apart, shared by sequences and
// counted by reference. Layout of a block: ops/paged_kv.h.
//
// Address space for the largest possible number of blocks is reserved once, so a block never moves; memory is committed
// when first written and kept for reuse after Release. Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arkvale/status.h"
#include "base/dtype.h"
#include "device/device.h"
#include "kv/byte_budget.h"
#include "kv/ids.h"
#include "kv/shape.h"

namespace arkvale {

inline constexpr int32_t kBlockTokens = 64;

// Tokens that the blocks of `n_tokens` tokens have room for.
constexpr int64_t InWholeBlocks(int64_t n_tokens) {
  return (n_tokens + kBlockTokens - 1) / kBlockTokens * kBlockTokens;
}

class BlockPool {
 public:
  // `budget` outlives the pool. InvalidArgument for a type that K and V are not kept in, or a head dim that it cannot
  // cut into blocks.
  static Result<BlockPool> Make(const KvLayerShape& shape, DType dtype, ByteBudget* budget);

  // A block with one reference; ResourceExhausted says how much is held.
  Result<BlockId> Allocate();
  void AddRef(BlockId block) { ++refs_[block.value()]; }
  void Release(BlockId block);
  bool shared(BlockId block) const { return refs_[block.value()] > 1; }

  DType dtype() const { return dtype_; }
  // Of one token and head.
  int64_t k_row_bytes() const { return k_row_bytes_; }
  int64_t v_row_bytes() const { return v_row_bytes_; }
  // Bytes of K and V of one block of all heads.
  int64_t block_bytes() const { return k_block_bytes_ + v_block_bytes_; }
  int64_t k_block_bytes() const { return k_block_bytes_; }
  int64_t v_block_bytes() const { return v_block_bytes_; }
  std::byte* k_base() const { return k_.data(); }
  std::byte* v_base() const { return v_.data(); }
  std::byte* k(BlockId block) const { return k_.data() + block.value() * k_block_bytes_; }
  std::byte* v(BlockId block) const { return v_.data() + block.value() * v_block_bytes_; }

 private:
  BlockPool() = default;

  Buffer k_, v_;
  DType dtype_ = DType::kF16;
  int64_t k_row_bytes_ = 0;
  int64_t v_row_bytes_ = 0;
  int64_t k_block_bytes_ = 0;
  int64_t v_block_bytes_ = 0;
  int64_t max_blocks_ = 0;
  ByteBudget* budget_ = nullptr;
  std::vector<int32_t> refs_;  // per block ever made
  std::vector<BlockId> free_;
};

}  // namespace arkvale
