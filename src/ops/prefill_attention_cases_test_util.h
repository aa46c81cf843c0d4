// Caches and chunks of PrefillAttention that its tests compare with the reference and its benchmark times.
#pragma once

#include <vector>

#include "ops/attention_test_util.h"

namespace arkvale::test {

struct PrefillAttentionCase {
  const char* name;
  CacheShape shape;
  int32_t gqa;
  int64_t position0, n;  // the chunk
  int32_t window;
  std::vector<RowSpec> rows;
};

inline RowSpec WithHead(RowSpec row, int32_t head0) {
  row.head0 = head0;
  return row;
}

// Pages [0, n_pages) without those for which drop(page) holds.
template <typename Drop>
RowSpec Listed(int64_t n_tokens, int32_t page_tokens, const Drop& drop) {
  RowSpec all = DenseRow(n_tokens, page_tokens), row = all;
  row.page_positions.clear();
  for (const int64_t p : all.page_positions) {
    if (!drop(p / page_tokens)) row.page_positions.push_back(p);
  }
  return row;
}

inline RowSpec Skipping(RowSpec row, int32_t skip) {
  row.first_page_skip = skip;
  return row;
}

inline std::vector<PrefillAttentionCase> PrefillAttentionCases() {
  const auto third = [](int64_t p) { return p % 3 == 1; };
  const auto old = [](int64_t p) { return p < 5; };
  std::vector<PrefillAttentionCase> cases;
  cases.push_back({"one_token", {}, 1, 0, 1, 0, {DenseRow(1, 32)}});
  cases.push_back({"from_zero", {.page_tokens = 16}, 3, 0, 77, 0, {DenseRow(77, 16)}});
  cases.push_back(
      {"smollm", {.page_tokens = 32, .heads_per_block = 3, .heads_per_row = 3}, 3, 100, 150, 0, {DenseRow(250, 32)}});
  cases.push_back({"three_groups",
                   {.page_tokens = 64, .heads_per_block = 3},
                   3,
                   64,
                   65,
                   0,
                   {WithHead(DenseRow(129, 64), 0), WithHead(Listed(129, 64, [](int64_t p) { return p == 0; }), 1),
                    WithHead(DenseRow(129, 64), 2)}});
  cases.push_back({"two_by_two",
                   {.page_tokens = 8, .heads_per_block = 4, .heads_per_row = 2},
                   1,
                   30,
                   40,
                   0,
                   {WithHead(DenseRow(70, 8), 0), WithHead(DenseRow(70, 8), 2)}});
  cases.push_back({"gemma", {.page_tokens = 32, .dk = 256, .dv = 256}, 4, 200, 60, 0, {DenseRow(260, 32)}});
  cases.push_back({"gqa8_f32",
                   {.dtype = DType::kF32, .page_tokens = 64, .dk = 128, .dv = 128},
                   8,
                   130,
                   33,
                   0,
                   {DenseRow(163, 64)}});
  cases.push_back({"odd_40_80", {.page_tokens = 16, .dk = 40, .dv = 80}, 3, 10, 130, 0, {DenseRow(140, 16)}});
  cases.push_back(
      {"odd_80_40_f32", {.dtype = DType::kF32, .page_tokens = 8, .dk = 80, .dv = 40}, 4, 0, 90, 0, {DenseRow(90, 8)}});
  cases.push_back(
      {"tiny_dims", {.page_tokens = 4, .block_tokens = 4, .dk = 5, .dv = 9}, 2, 3, 70, 0, {DenseRow(73, 4)}});
  cases.push_back({"window", {.page_tokens = 16}, 3, 250, 100, 70, {DenseRow(350, 16)}});
  cases.push_back({"window_1", {.page_tokens = 16}, 2, 60, 20, 1, {DenseRow(80, 16)}});
  cases.push_back({"window_dropped_pages", {.page_tokens = 16}, 3, 160, 90, 70, {Skipping(Listed(250, 16, old), 11)}});
  cases.push_back({"gaps", {.page_tokens = 8}, 3, 200, 60, 0, {Listed(260, 8, third)}});
  cases.push_back({"nothing_visible_at_first", {.page_tokens = 8}, 3, 30, 60, 0, {Listed(90, 8, old)}});
  cases.push_back({"empty_list", {.page_tokens = 8}, 3, 30, 10, 0, {DenseRow(0, 8)}});
  cases.push_back({"pages_behind_the_chunk", {.page_tokens = 8}, 3, 30, 10, 0, {DenseRow(200, 8)}});
  return cases;
}

}  // namespace arkvale::test
