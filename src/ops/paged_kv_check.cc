#include "ops/paged_kv_check.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace arkvale {
namespace {

Status Wrong(const char* op, const std::string& what) { return InvalidArgument(std::string(op) + ": " + what); }

Status CheckShape(const char* op, const PagedKv& kv) {
  const auto wrong_type = [&](const std::string& why) {
    return Wrong(op, "KV of type " + std::string(DTypeName(kv.dtype)) + why);
  };
  if (kv.dtype != DType::kF16 && kv.dtype != DType::kF32 && !IsQuantised(kv.dtype)) {
    return wrong_type(" not supported: f16, f32, q8_0 or q4_0");
  }
  const auto dims = [&] { return std::to_string(kv.head_dim_k) + ", " + std::to_string(kv.head_dim_v); };
  if (kv.head_dim_k < 1 || kv.head_dim_v < 1) return Wrong(op, "head dims " + dims() + " < 1");
  if (IsQuantised(kv.dtype) && (kv.head_dim_k % kQuantBlock != 0 || kv.head_dim_v % kQuantBlock != 0)) {
    return wrong_type(" with head dims " + dims() + ": they must be multiples of " + std::to_string(kQuantBlock));
  }
  if (IsQuantised(kv.dtype) && std::max(kv.head_dim_k, kv.head_dim_v) > kQuantMaxRow) {
    return wrong_type(" with head dims " + dims() + " > " + std::to_string(kQuantMaxRow));
  }
  if (kv.page_tokens < 1 || kv.block_tokens < 1 || kv.block_tokens % kv.page_tokens != 0) {
    return Wrong(op, "page of " + std::to_string(kv.page_tokens) + " tokens does not divide a block of " +
                         std::to_string(kv.block_tokens));
  }
  if (kv.heads_per_row < 1 || kv.heads_per_row > kv.heads_per_block) {
    return Wrong(op, std::to_string(kv.heads_per_row) + " kv heads per row, but a block has " +
                         std::to_string(kv.heads_per_block));
  }
  if (kv.n_rows < 0) return Wrong(op, std::to_string(kv.n_rows) + " rows");
  return OkStatus();
}

Status CheckRow(const char* op, const PagedKv& kv, int32_t row) {
  const std::string name = "row " + std::to_string(row) + ": ";
  if (kv.head0[row] < 0 || kv.head0[row] + kv.heads_per_row > kv.heads_per_block) {
    return Wrong(op, name + "kv heads from " + std::to_string(kv.head0[row]) + " on, but a block has " +
                         std::to_string(kv.heads_per_block));
  }
  const int64_t begin = kv.page_begin[row], end = kv.page_begin[row + 1];
  if (begin < 0 || end < begin) {
    return Wrong(op, name + "page list from " + std::to_string(begin) + " to " + std::to_string(end));
  }
  if (begin == end) return OkStatus();
  if (kv.k_base == nullptr || kv.v_base == nullptr || kv.page_ids == nullptr) return Wrong(op, name + "null pages");
  const int32_t last = kv.last_page_tokens[row];
  if (last < 1 || last > kv.page_tokens) {
    return Wrong(
        op, name + "last page has " + std::to_string(last) + " tokens, must be 1.." + std::to_string(kv.page_tokens));
  }
  const int32_t skip = kv.first_page_skip == nullptr ? 0 : kv.first_page_skip[row];
  const int32_t first = end - begin == 1 ? last : kv.page_tokens;
  if (skip < 0 || skip > first) {
    return Wrong(op, name + "skips " + std::to_string(skip) + " of " + std::to_string(first) + " tokens");
  }
  for (int64_t i = begin; i < end; ++i) {
    if (kv.page_ids[i] < 0) return Wrong(op, name + "page id " + std::to_string(kv.page_ids[i]));
  }
  return OkStatus();
}

}  // namespace

Status CheckPagedKv(const char* op, const PagedKv& kv) {
  ARKVALE_RETURN_IF_ERROR(CheckShape(op, kv));
  if (kv.n_rows == 0) return OkStatus();
  if (kv.head0 == nullptr || kv.page_begin == nullptr || kv.last_page_tokens == nullptr) {
    return Wrong(op, "null row arrays");
  }
  for (int32_t row = 0; row < kv.n_rows; ++row) ARKVALE_RETURN_IF_ERROR(CheckRow(op, kv, row));
  return OkStatus();
}

Status CheckScoredKeys(const char* op, PagedKv kv, int32_t q_heads_per_kv_head, float scale, float softcap) {
  kv.v_base = kv.k_base;
  kv.head_dim_v = kv.head_dim_k;
  ARKVALE_RETURN_IF_ERROR(CheckPagedKv(op, kv));
  if (q_heads_per_kv_head < 1) {
    return Wrong(op, std::to_string(q_heads_per_kv_head) + " query heads per kv head, must be >= 1");
  }
  if (!(softcap >= 0) || !std::isfinite(softcap) || !std::isfinite(scale)) {
    return Wrong(op, "scale " + std::to_string(scale) + ", softcap " + std::to_string(softcap) +
                         ": must be numbers, the softcap >= 0 (0 means none)");
  }
  return OkStatus();
}

Status CheckPagePositions(const char* op, const PagedKv& kv) {
  for (int32_t row = 0; row < kv.n_rows; ++row) {
    int64_t least = 0;
    for (int64_t i = kv.page_begin[row]; i < kv.page_begin[row + 1]; ++i) {
      if (kv.page_positions == nullptr) return Wrong(op, "null page positions");
      if (kv.page_positions[i] < least) {
        return Wrong(op, "row " + std::to_string(row) + ": page at position " + std::to_string(kv.page_positions[i]) +
                             ", must be >= " + std::to_string(least));
      }
      least = kv.page_positions[i] + kv.page_tokens;
    }
  }
  return OkStatus();
}

}  // namespace arkvale
