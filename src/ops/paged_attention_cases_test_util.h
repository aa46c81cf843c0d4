// Caches and rows of PagedAttention that its tests compare with the reference and its benchmark times.
#pragma once

#include <vector>

#include "ops/attention_test_util.h"

namespace arkvale::test {

struct PagedAttentionCase {
  const char* name;
  CacheShape shape;
  int32_t gqa;
  std::vector<RowSpec> rows;
};

inline RowSpec At(RowSpec row, int32_t head0, int32_t skip = 0) {
  row.head0 = head0;
  row.first_page_skip = skip;
  return row;
}

// Every third page of a long sequence, with the last ones present.
inline RowSpec GappyRow(int64_t n_pages, int32_t page_tokens, int32_t last) {
  RowSpec row;
  for (int64_t i = 0; i < n_pages; ++i) row.page_positions.push_back((i * 3 + (i % 2)) * page_tokens);
  row.last_page_tokens = last;
  return row;
}

inline std::vector<PagedAttentionCase> PagedAttentionCases() {
  std::vector<PagedAttentionCase> cases;
  cases.push_back({"one_token", {}, 1, {DenseRow(1, 32)}});
  cases.push_back({"one_token_f32", {.dtype = DType::kF32, .page_tokens = 8}, 3, {DenseRow(1, 8)}});
  cases.push_back({"empty_rows", {.page_tokens = 16}, 4, {DenseRow(0, 16), DenseRow(33, 16), DenseRow(0, 16)}});
  cases.push_back({"smollm", {.page_tokens = 32, .heads_per_block = 3, .heads_per_row = 3}, 3, {DenseRow(1021, 32)}});
  cases.push_back({"smollm_groups",
                   {.page_tokens = 16, .heads_per_block = 3},
                   3,
                   {At(DenseRow(515, 16), 0), At(GappyRow(40, 16, 3), 1), At(GappyRow(7, 16, 16), 2)}});
  cases.push_back({"two_of_three",
                   {.page_tokens = 64, .heads_per_block = 3, .heads_per_row = 2},
                   1,
                   {At(DenseRow(200, 64), 0), At(DenseRow(320, 64), 1)}});
  cases.push_back({"gemma", {.page_tokens = 32, .dk = 256, .dv = 256}, 4, {DenseRow(777, 32)}});
  cases.push_back({"llama",
                   {.page_tokens = 64, .heads_per_block = 2, .heads_per_row = 2, .dk = 128, .dv = 128},
                   4,
                   {DenseRow(643, 64)}});
  cases.push_back({"gqa8", {.page_tokens = 8, .dk = 128, .dv = 128}, 8, {DenseRow(300, 8)}});
  cases.push_back({"gqa7", {.page_tokens = 8, .block_tokens = 8}, 7, {DenseRow(61, 8)}});
  cases.push_back({"odd_40_80", {.page_tokens = 16, .dk = 40, .dv = 80}, 3, {DenseRow(99, 16)}});
  cases.push_back(
      {"odd_80_40_f32", {.dtype = DType::kF32, .page_tokens = 8, .dk = 80, .dv = 40}, 4, {DenseRow(300, 8)}});
  cases.push_back({"odd_19_33", {.page_tokens = 4, .block_tokens = 12, .dk = 19, .dv = 33}, 2, {DenseRow(270, 4)}});
  cases.push_back({"tiny_dims", {.page_tokens = 8, .dk = 5, .dv = 8}, 3, {DenseRow(70, 8)}});
  cases.push_back({"window",
                   {.page_tokens = 64},
                   3,
                   {At(GappyRow(9, 64, 11), 0, 63), At(GappyRow(1, 64, 11), 0, 10), At(GappyRow(1, 64, 11), 0, 11)}});
  cases.push_back(
      {"big_page", {.page_tokens = 512, .block_tokens = 512, .dk = 256, .dv = 256}, 1, {DenseRow(1300, 512)}});
  return cases;
}

}  // namespace arkvale::test
