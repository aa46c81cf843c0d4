#include "kv/token_mass.h"

#include <algorithm>

#include "base/check.h"
#include "kv/grow.h"

namespace arkvale {

void TokenMass::Reserve(int64_t n_cells) {
  const int64_t stride = GrownStride(stride_, n_cells);
  if (stride == stride_) return;
  std::vector<float> sums(n_heads_ * stride), pending(n_heads_ * stride);
  for (int32_t h = 0; h < n_heads_; ++h) {
    std::copy_n(sums_.begin() + h * stride_, n_cells_, sums.begin() + h * stride);
  }
  sums_ = std::move(sums);
  pending_ = std::move(pending);
  stride_ = stride;
}

Status TokenMass::Add(const OpContext& ctx, AttentionMassArgs args, int64_t n_cells) {
  ARKVALE_CHECK(n_cells <= stride_);
  if (pending_cells_ < 0) {
    for (int32_t h = 0; h < n_heads_; ++h) {
      const auto to = pending_.begin() + h * stride_;
      std::copy_n(sums_.begin() + h * stride_, n_cells_, to);
      std::fill(to + n_cells_, to + n_cells, 0.0f);
    }
    pending_cells_ = n_cells;
    pending_rows_ = n_rows_;
  }
  pending_rows_ += args.q.rows;
  args.mass = pending_.data();
  args.mass_stride = stride_;
  return AttentionMass(ctx, args);
}

void TokenMass::Commit() {
  if (pending_cells_ < 0) return;
  std::swap(sums_, pending_);
  n_cells_ = pending_cells_;
  n_rows_ = pending_rows_;
  pending_cells_ = -1;
}

std::span<const float> TokenMass::sums(int32_t head) const {
  const bool pending = pending_cells_ >= 0;
  const std::vector<float>& from = pending ? pending_ : sums_;
  return {from.data() + head * stride_, static_cast<size_t>(pending ? pending_cells_ : n_cells_)};
}

void TokenMass::Move(int32_t head, int64_t from, int64_t to) {
  sums_[head * stride_ + to] = sums_[head * stride_ + from];
}

void TokenMass::CopyFrom(const TokenMass& other) {
  ARKVALE_CHECK(other.n_heads_ == n_heads_ && other.pending_cells_ < 0);
  n_cells_ = 0;
  Reserve(other.n_cells_);
  for (int32_t h = 0; h < n_heads_; ++h) {
    std::copy_n(other.sums_.begin() + h * other.stride_, other.n_cells_, sums_.begin() + h * stride_);
  }
  n_cells_ = other.n_cells_;
  n_rows_ = other.n_rows_;
}

}  // namespace arkvale
