#include "kv/paged_view.h"

namespace arkvale {

void PagedView::Reset(const PagedKv& layout) {
  layout_ = layout;
  head0_.clear();
  ids_.clear();
  last_tokens_.clear();
  skip_.clear();
  begin_.assign(1, 0);
  positions_.clear();
  q_.clear();
  out_.clear();
  lse_.clear();
}

void PagedView::BeginRow(int32_t head0, const float* q, float* out, float* lse, int32_t skip) {
  head0_.push_back(head0);
  q_.push_back(q);
  out_.push_back(out);
  lse_.push_back(lse);
  skip_.push_back(skip);
}

void PagedView::EndRow(int32_t last_tokens) {
  const bool empty = begin_.back() == static_cast<int64_t>(ids_.size());
  last_tokens_.push_back(empty ? layout_.page_tokens : last_tokens);
  begin_.push_back(static_cast<int64_t>(ids_.size()));
}

PagedKv PagedView::kv() const {
  PagedKv kv = layout_;
  kv.n_rows = n_rows();
  kv.head0 = head0_.data();
  kv.page_begin = begin_.data();
  kv.page_ids = ids_.data();
  kv.page_positions = positions_.data();
  kv.last_page_tokens = last_tokens_.data();
  kv.first_page_skip = skip_.data();
  return kv;
}

PagedAttentionArgs PagedView::Args(const KvLayerShape& shape) const {
  return {.kv = kv(),
          .q_heads_per_kv_head = shape.q_per_kv(),
          .scale = shape.scale,
          .softcap = shape.softcap,
          .q = q_.data(),
          .out = out_.data(),
          .lse = lse_.data()};
}

PageScoresArgs PagedView::ScoreArgs(const KvLayerShape& shape) const {
  return {.kv = kv(),
          .q_heads_per_kv_head = shape.q_per_kv(),
          .scale = shape.scale,
          .softcap = shape.softcap,
          .q = q_.data(),
          .max_qk = out_.data(),
          .lse = lse_.data()};
}

}  // namespace arkvale
