// A cache of q8_0 and its twin in f32 with exactly the values that the q8_0 rows stand for, for tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/f16.h"
#include "ops/attention_test_util.h"
#include "ops/convert.h"
#include "ops/paged_attention_cases_test_util.h"

namespace arkvale::test {

inline float Q8Value(const q8_t* row, int64_t n, int64_t i) {
  f16_t scale = 0;
  std::memcpy(&scale, row + n + i / kQ8Block * 2, sizeof(scale));
  return F16ToF32(scale) * static_cast<float>(row[i].byte);
}

// Rows [n_rows, dim] of f32 as q8_0; the f32 rows become what those stand for.
inline std::vector<q8_t> QuantiseRows(float* rows, int64_t n_rows, int64_t dim) {
  const int64_t stride = RowStride<q8_t>(dim);
  std::vector<q8_t> out(n_rows * stride);
  for (int64_t r = 0; r < n_rows; ++r) {
    ConvertF32ToQ8(rows + r * dim, out.data() + r * stride, dim);
    for (int64_t i = 0; i < dim; ++i) rows[r * dim + i] = Q8Value(out.data() + r * stride, dim, i);
  }
  return out;
}

// Quantises the listed tokens of a cache of f32, in which they become what they stand for. Memory that no list names
// is NaN in both.
class Q8Twin {
 public:
  explicit Q8Twin(const FakeCache& f32) : kv_(f32.kv()) {
    EXPECT_EQ(kv_.dtype, DType::kF32);
    const int64_t n_pages = kv_.page_begin[kv_.n_rows];
    const int64_t parts = kv_.block_tokens / kv_.page_tokens;
    int64_t n_blocks = 1;
    for (int64_t i = 0; i < n_pages; ++i) n_blocks = std::max(n_blocks, kv_.page_ids[i] / parts + 1);
    const int64_t n_tokens = n_blocks * kv_.heads_per_block * kv_.block_tokens;
    kv_.dtype = DType::kQ8;
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
  static void Quantise(const std::byte* f32, const std::byte* q8, int64_t dim) {
    auto* row = reinterpret_cast<float*>(const_cast<std::byte*>(f32));
    const std::vector<q8_t> made = QuantiseRows(row, 1, dim);
    std::memcpy(const_cast<std::byte*>(q8), made.data(), made.size());
  }

  PagedKv kv_;
  std::vector<std::byte> k_, v_;
};

struct Q8Case {
  const char* name;
  CacheShape shape;  // in f32
  int32_t gqa;
  std::vector<RowSpec> rows;
};

// Every head dim that occurs, odd numbers of tokens, pages of all sizes, windows, groups.
inline std::vector<Q8Case> Q8Cases() {
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
