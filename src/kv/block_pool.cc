#include "kv/block_pool.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "kv/grow.h"

namespace arkvale {
namespace {
// Address space a pool reserves when nothing limits it: 1 TiB of K and V over all layers fits 47-bit addresses easily.
constexpr int64_t kUnlimitedPoolBytes = int64_t{16} << 30;

Status CheckType(const KvLayerShape& shape, DType dtype) {
  if (dtype == DType::kF16) return OkStatus();
  if (!IsQuantised(dtype)) {
    return InvalidArgument("K and V of type " + std::string(DTypeName(dtype)) +
                           " are not supported: f16, q8_0 or q4_0");
  }
  for (const int32_t dim : {shape.head_dim_k, shape.head_dim_v}) {
    if (dim % kQuantBlock == 0) continue;
    return InvalidArgument("head dim " + std::to_string(dim) + " is no multiple of " + std::to_string(kQuantBlock) +
                           ", the block of " + std::string(DTypeName(dtype)) + ": use --kv-type f16 for this model");
  }
  return OkStatus();
}
}  // namespace

Result<BlockPool> BlockPool::Make(const KvLayerShape& shape, DType dtype, ByteBudget* budget) {
  ARKVALE_RETURN_IF_ERROR(CheckType(shape, dtype));
  BlockPool pool;
  pool.dtype_ = dtype;
  pool.k_row_bytes_ = DTypeRowBytes(dtype, shape.head_dim_k);
  pool.v_row_bytes_ = DTypeRowBytes(dtype, shape.head_dim_v);
  pool.k_block_bytes_ = int64_t{kBlockTokens} * shape.n_kv_heads * pool.k_row_bytes_;
  pool.v_block_bytes_ = int64_t{kBlockTokens} * shape.n_kv_heads * pool.v_row_bytes_;
  const int64_t limit = budget->limit() > 0 ? budget->limit() : kUnlimitedPoolBytes;
  pool.max_blocks_ = std::max<int64_t>(1, limit / pool.block_bytes());
  pool.budget_ = budget;
  ARKVALE_ASSIGN_OR_RETURN(pool.k_, CpuDevice().Allocate(pool.max_blocks_ * pool.k_block_bytes_));
  ARKVALE_ASSIGN_OR_RETURN(pool.v_, CpuDevice().Allocate(pool.max_blocks_ * pool.v_block_bytes_));
  return pool;
}

Result<BlockId> BlockPool::Allocate() {
  const bool reuse = !free_.empty();
  // Room first: once the bytes are counted nothing may throw, and Release never may.
  if (!reuse) GrowCapacity(refs_, static_cast<int64_t>(refs_.size()) + 1);
  GrowCapacity(free_, static_cast<int64_t>(refs_.capacity()));
  if ((!reuse && static_cast<int64_t>(refs_.size()) >= max_blocks_) || !budget_->TryTake(block_bytes())) {
    return ResourceExhausted("KV cache is full: " + std::to_string(budget_->used() >> 20) + " MiB in use, limit " +
                             std::to_string(budget_->limit() >> 20) +
                             " MiB; raise --kv-host-mem or use a shorter context");
  }
  if (!reuse) {
    refs_.push_back(1);
    return BlockId(static_cast<int32_t>(refs_.size()) - 1);
  }
  const BlockId block = free_.back();
  free_.pop_back();
  refs_[block.value()] = 1;
  return block;
}

void BlockPool::Release(BlockId block) {
  ARKVALE_CHECK(refs_[block.value()] > 0);
  if (--refs_[block.value()] > 0) return;
  free_.push_back(block);
  budget_->Give(block_bytes());
}

}  // namespace arkvale
