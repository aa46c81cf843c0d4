// A cache of q8_0 or q4_0 and its twin in f32 with exactly the values that its rows stand for, for tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/f16.h"
#include "ops/attention_test_util.h"
#include "ops/convert.h"
#include "ops/paged_attention_cases_test_util.h"

namespace arkvale::test {

constexpr DType kQuantTypes[] = {DType::kQ8, DType::kQ4};

// Element i of a row of n.
inline float QuantisedValue(DType type, const std::byte* row, int64_t n, int64_t i) {
  const int64_t block = i / kQuantBlock, in_block = i % kQuantBlock;
  f16_t scale = 0;
  std::memcpy(&scale, row + (type == DType::kQ8 ? n : n / 2) + block * 2, sizeof(scale));
  if (type == DType::kQ8) return F16ToF32(scale) * static_cast<float>(static_cast<int8_t>(row[i]));
  const int both = static_cast<int>(row[block * 16 + in_block % 16]), code = in_block < 16 ? both % 16 : both / 16;
  return F16ToF32(scale) * static_cast<float>(code - 8);
}

// Rows [n_rows, dim] of f32 as `type`; the f32 rows become what those stand for.
inline std::vector<std::byte> QuantiseRows(DType type, float* rows, int64_t n_rows, int64_t dim) {
  const int64_t stride = DTypeRowBytes(type, dim);
  std::vector<std::byte> out(n_rows * stride);
  for (int64_t r = 0; r < n_rows; ++r) {
    std::byte* const row = out.data() + r * stride;
    ConvertRow(type, rows + r * dim, row, dim);
    for (int64_t i = 0; i < dim; ++i) rows[r * dim + i] = QuantisedValue(type, row, dim, i);
  }
  return out;
}

inline std::string QuantTypeName(const testing::TestParamInfo<DType>& info) {
  return std::string(DTypeName(info.param));
}

// Quantises the listed tokens of a cache of f32, in which they become what they stand for. Memory that no list names
// is NaN in both.
class QuantisedTwin {
 public:
  QuantisedTwin(const FakeCache& f32, DType type) : kv_(f32.kv()) {
    EXPECT_EQ(kv_.dtype, DType::kF32);
    const int64_t n_pages = kv_.page_begin[kv_.n_rows];
    const int64_t parts = kv_.block_tokens / kv_.page_tokens;
    int64_t n_blocks = 1;
    for (int64_t i = 0; i < n_pages; ++i) n_blocks = std::max(n_blocks, kv_.page_ids[i] / parts + 1);
    const int64_t n_tokens = n_blocks * kv_.heads_per_block * kv_.block_tokens;
    kv_.dtype = type;
    // One byte more, so that rows lie at odd addresses.
    k_.resize(n_tokens * KeyRowBytes(kv_) + 1, std::byte{0xff});
    v_.resize(n_tokens * ValueRowBytes(kv_) + 1, std::byte{0xff});
    kv_.k_base = k_.data() + 1;
    kv_.v_base = v_.data() + 1;
    for (int32_t r = 0; r < kv_.n_rows; ++r) FillRow(f32.kv(), r);
  }
  const PagedKv& kv() const { return kv_; }

 private:
  void FillRow(const PagedKv& f32, int32_t r) {
    for (int64_t i = kv_.page_begin[r]; i < kv_.page_begin[r + 1]; ++i) {
      const int32_t from = i == kv_.page_begin[r] ? kv_.first_page_skip[r] : 0;
      const int32_t to = i + 1 == kv_.page_begin[r + 1] ? kv_.last_page_tokens[r] : kv_.page_tokens;
      for (int32_t h = kv_.head0[r]; h < kv_.head0[r] + kv_.heads_per_row; ++h) {
        for (int64_t t = from; t < to; ++t) {
          Quantise(KeyPage(f32, kv_.page_ids[i], h) + t * KeyRowBytes(f32),
                   KeyPage(kv_, kv_.page_ids[i], h) + t * KeyRowBytes(kv_), kv_.head_dim_k);
          Quantise(ValuePage(f32, kv_.page_ids[i], h) + t * ValueRowBytes(f32),
                   ValuePage(kv_, kv_.page_ids[i], h) + t * ValueRowBytes(kv_), kv_.head_dim_v);
        }
      }
    }
  }
  void Quantise(const std::byte* f32, const std::byte* quantised, int64_t dim) const {
    auto* row = reinterpret_cast<float*>(const_cast<std::byte*>(f32));
    const std::vector<std::byte> made = QuantiseRows(kv_.dtype, row, 1, dim);
    std::memcpy(const_cast<std::byte*>(quantised), made.data(), made.size());
  }

  PagedKv kv_;
  std::vector<std::byte> k_, v_;
};

struct QuantisedCase {
  const char* name;
  CacheShape shape;  // in f32
  int32_t gqa;
  std::vector<RowSpec> rows;
};

// Every head dim that occurs, odd numbers of tokens, pages of all sizes, windows, groups.
inline std::vector<QuantisedCase> QuantisedCases() {
  const auto f32 = [](CacheShape shape) {
    shape.dtype = DType::kF32;
    return shape;
  };
  return {
      {"one_token", f32({.dk = 32, .dv = 32}), 1, {DenseRow(1, 32)}},
      {"dim32", f32({.page_tokens = 8, .dk = 32, .dv = 32}), 4, {DenseRow(77, 8), DenseRow(0, 8), DenseRow(3, 8)}},
      {"smollm", f32({.heads_per_block = 3, .heads_per_row = 3}), 3, {DenseRow(1021, 32)}},
      {"groups",
       f32({.page_tokens = 16, .heads_per_block = 2}),
       3,
       {At(DenseRow(515, 16), 0), At(DenseRow(61, 16), 1)}},
      {"dim96", f32({.page_tokens = 64, .dk = 96, .dv = 96}), 2, {DenseRow(301, 64)}},
      {"dim160_32", f32({.page_tokens = 16, .dk = 160, .dv = 32}), 7, {DenseRow(99, 16)}},
      {"dim128",
       f32({.page_tokens = 64, .heads_per_block = 2, .heads_per_row = 2, .dk = 128, .dv = 128}),
       4,
       {DenseRow(643, 64)}},
      {"dim256", f32({.page_tokens = 32, .dk = 256, .dv = 256}), 4, {DenseRow(333, 32)}},
      {"dim288", f32({.page_tokens = 64, .dk = 288, .dv = 288}), 1, {DenseRow(143, 64)}},
      {"window",
       f32({.page_tokens = 64}),
       3,
       {At(DenseRow(250, 64), 0, 63), At(DenseRow(11, 64), 0, 10), At(DenseRow(11, 64), 0, 11)}},
  };
}

}  // namespace arkvale::test
