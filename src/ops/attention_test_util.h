// A paged cache of random f16 or f32 values for tests: pages scattered over the pool, unused memory full of NaN.
#pragma once

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/f16.h"
#include "base/rng.h"
#include "ops/op_table.h"
#include "ops/paged_kv.h"

namespace arkvale::test {

// Pool, workspace and the CPU's table.
struct Machine {
  explicit Machine(int n_threads) : pool(n_threads), workspace(n_threads), ctx{&CpuOps(), &pool, &workspace} {}
  ThreadPool pool;
  Workspace workspace;
  OpContext ctx;
};

// Runs body once for each instruction set of this machine that the kernels are compiled for.
template <typename Body>
void ForEachTarget(const Body& body) {
  const int64_t here = hwy::SupportedTargets();
  for (const int64_t target : {int64_t{HWY_STATIC_TARGET}, int64_t{HWY_AVX2}, int64_t{HWY_AVX3}}) {
    if (target != HWY_STATIC_TARGET && (here & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// One row's pages: which positions they start at, in increasing order.
struct RowSpec {
  std::vector<int64_t> page_positions;
  int32_t last_page_tokens = 1;
  int32_t first_page_skip = 0;
  int32_t head0 = 0;
};

// `n_tokens` from position 0 on, no gaps.
inline RowSpec DenseRow(int64_t n_tokens, int32_t page_tokens) {
  RowSpec row;
  for (int64_t at = 0; at < n_tokens; at += page_tokens) row.page_positions.push_back(at);
  row.last_page_tokens = n_tokens == 0 ? 1 : static_cast<int32_t>((n_tokens - 1) % page_tokens + 1);
  return row;
}

struct CacheShape {
  DType dtype = DType::kF16;
  int32_t page_tokens = 32;
  int32_t block_tokens = 64;
  int32_t heads_per_block = 1;
  int32_t heads_per_row = 1;
  int32_t dk = 64;
  int32_t dv = 64;
};

class FakeCache {
 public:
  FakeCache(const CacheShape& shape, const std::vector<RowSpec>& rows, uint64_t seed, float spread = 1.0f)
      : rng_(seed), bytes_(DTypeBytes(shape.dtype)) {
    kv_.dtype = shape.dtype;
    kv_.page_tokens = shape.page_tokens;
    kv_.block_tokens = shape.block_tokens;
    kv_.heads_per_block = shape.heads_per_block;
    kv_.heads_per_row = shape.heads_per_row;
    kv_.head_dim_k = shape.dk;
    kv_.head_dim_v = shape.dv;
    kv_.n_rows = static_cast<int32_t>(rows.size());
    page_begin_.push_back(0);
    for (const RowSpec& row : rows) {
      head0_.push_back(row.head0);
      last_.push_back(row.last_page_tokens);
      skip_.push_back(row.first_page_skip);
      positions_.insert(positions_.end(), row.page_positions.begin(), row.page_positions.end());
      page_begin_.push_back(static_cast<int64_t>(positions_.size()));
    }
    const int32_t parts = shape.block_tokens / shape.page_tokens;
    const int64_t n_blocks = static_cast<int64_t>(positions_.size()) / parts + 3;
    for (const uint64_t id : rng_.Sample(n_blocks * parts, positions_.size())) ids_.push_back(static_cast<int32_t>(id));
    k_.resize(n_blocks * shape.heads_per_block * shape.block_tokens * shape.dk * bytes_, std::byte{0xff});
    v_.resize(n_blocks * shape.heads_per_block * shape.block_tokens * shape.dv * bytes_, std::byte{0xff});
    Fill(rows, spread);
    kv_.head0 = head0_.data();
    kv_.page_begin = page_begin_.data();
    kv_.page_ids = ids_.data();
    kv_.page_positions = positions_.data();
    kv_.last_page_tokens = last_.data();
    kv_.first_page_skip = skip_.data();
  }

  const PagedKv& kv() const { return kv_; }
  Rng& rng() { return rng_; }

 private:
  // Values of the tokens that are listed; 0xff.. is NaN in both types and stays everywhere else.
  void Fill(const std::vector<RowSpec>& rows, float spread) {
    kv_.k_base = k_.data();
    kv_.v_base = v_.data();
    for (size_t r = 0; r < rows.size(); ++r) {
      for (int64_t i = page_begin_[r]; i < page_begin_[r + 1]; ++i) {
        const int32_t from = i == page_begin_[r] ? skip_[r] : 0;
        const int32_t to = i + 1 == page_begin_[r + 1] ? last_[r] : kv_.page_tokens;
        for (int32_t h = 0; h < kv_.heads_per_row; ++h) {
          FillTokens(const_cast<std::byte*>(KeyPage(kv_, ids_[i], head0_[r] + h)), from, to, kv_.head_dim_k, spread);
          FillTokens(const_cast<std::byte*>(ValuePage(kv_, ids_[i], head0_[r] + h)), from, to, kv_.head_dim_v, 1.0f);
        }
      }
    }
  }
  void FillTokens(std::byte* page, int32_t from, int32_t to, int32_t dim, float spread) {
    for (int64_t i = int64_t{from} * dim; i < int64_t{to} * dim; ++i) {
      const float x = rng_.Uniform(-spread, spread);
      if (kv_.dtype == DType::kF16) {
        reinterpret_cast<f16_t*>(page)[i] = F32ToF16(x);
      } else {
        reinterpret_cast<float*>(page)[i] = x;
      }
    }
  }

  Rng rng_;
  int64_t bytes_;
  PagedKv kv_;
  std::vector<std::byte> k_, v_;
  std::vector<int32_t> head0_, last_, skip_, ids_;
  std::vector<int64_t> page_begin_, positions_;
};

inline std::vector<float> RandomVector(Rng& rng, int64_t n, float spread) {
  std::vector<float> v(n);
  for (float& x : v) x = rng.Uniform(-spread, spread);
  return v;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace arkvale::test
