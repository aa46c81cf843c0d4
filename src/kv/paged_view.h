// PagedView: owns the arrays behind a PagedKv and the per-row pointers of an attention call; filled row by row and
// reused, so that a steady step allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/shape.h"
#include "ops/page_scores.h"
#include "ops/paged_attention.h"
#include "ops/paged_kv.h"

namespace arkvale {

class PagedView {
 public:
  // Forgets all rows. `layout` gives the plain fields of PagedKv.
  void Reset(const PagedKv& layout);

  // `q`, `out`, `lse`: see PagedAttentionArgs, or for ScoreArgs `out` is max_qk; null where the caller passes matrices
  // instead.
  void BeginRow(int32_t head0, const float* q = nullptr, float* out = nullptr, float* lse = nullptr, int32_t skip = 0);
  void AddPage(int32_t id, int64_t position) {
    ids_.push_back(id);
    positions_.push_back(position);
  }
  // `last_tokens`: tokens in the row's last page; ignored for a row without pages.
  void EndRow(int32_t last_tokens);

  int32_t n_rows() const { return static_cast<int32_t>(head0_.size()); }
  // First positions of the pages of a row, in its order.
  std::span<const int64_t> positions(int32_t row) const {
    return {positions_.data() + begin_[row], static_cast<size_t>(begin_[row + 1] - begin_[row])};
  }
  PagedKv kv() const;
  PagedAttentionArgs Args(const KvLayerShape& shape) const;
  PageScoresArgs ScoreArgs(const KvLayerShape& shape) const;

 private:
  PagedKv layout_;
  std::vector<int32_t> head0_, ids_, last_tokens_, skip_;
  std::vector<int64_t> begin_ = {0}, positions_;
  std::vector<const float*> q_;
  std::vector<float*> out_, lse_;
};

}  // namespace arkvale
