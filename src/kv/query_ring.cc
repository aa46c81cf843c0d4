#include "kv/query_ring.h"

#include "base/check.h"

namespace arkvale {

void QueryRing::Put(const MatrixView& rows) {
  const auto n = static_cast<int32_t>(std::min<int64_t>(capacity_, rows.rows));
  rows_.resize(capacity_ * rows.cols);
  pending_.resize(std::max(pending_.size(), static_cast<size_t>(n * rows.cols)));
  width_ = rows.cols;
  for (int32_t i = 0; i < n; ++i) {
    const float* from = rows.row(rows.rows - n + i);
    std::copy(from, from + width_, pending_.begin() + i * width_);
  }
  n_pending_ = n;
  n_put_ = rows.rows;
}

void QueryRing::Commit() {
  end_ += n_put_;
  for (int32_t i = 0; i < n_pending_; ++i) {
    const int64_t slot = (end_ - n_pending_ + i) % capacity_;
    std::copy(pending_.begin() + i * width_, pending_.begin() + (i + 1) * width_, rows_.begin() + slot * width_);
  }
  n_known_ = std::min<int64_t>(capacity_, n_known_ + n_put_);
  Abort();
}

const float* QueryRing::Newest(int32_t back) const {
  ARKVALE_CHECK(back < n_known());
  if (back < n_pending_) return pending_.data() + (n_pending_ - 1 - back) * width_;
  return rows_.data() + (end_ - 1 - (back - n_pending_)) % capacity_ * width_;
}

void QueryRing::Gather(int32_t n, std::vector<float>& rows) const {
  rows.resize(n * width_);
  for (int32_t i = 0; i < n; ++i) {
    const float* from = Newest(n - 1 - i);
    std::copy(from, from + width_, rows.begin() + i * width_);
  }
}

void QueryRing::CopyFrom(const QueryRing& other) {
  ARKVALE_CHECK(other.n_put_ == 0);
  const auto n = static_cast<int32_t>(std::min<int64_t>(capacity_, other.n_known_));
  if (n == 0) return;
  rows_.resize(capacity_ * other.width_);
  width_ = other.width_;
  for (int32_t i = 0; i < n; ++i) {
    const float* from = other.Newest(n - 1 - i);
    std::copy(from, from + width_, rows_.begin() + i * width_);
  }
  end_ = n_known_ = n;
}

}  // namespace arkvale
