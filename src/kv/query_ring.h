// QueryRing: the queries of the newest tokens of one (sequence, layer), kept from batch to batch. The rows of a batch
// count once it commits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/matrix_view.h"

namespace arkvale {

class QueryRing {
 public:
  QueryRing() = default;
  explicit QueryRing(int32_t capacity) : capacity_(capacity) {}

  // The rows of the batch under way, oldest first. Throws std::bad_alloc, and has then changed nothing.
  void Put(const MatrixView& rows);
  void Commit();
  void Abort() { n_pending_ = n_put_ = 0; }

  int32_t capacity() const { return capacity_; }
  // Newest rows known, those of the batch under way included.
  int32_t n_known() const { return static_cast<int32_t>(std::min<int64_t>(capacity_, n_known_ + n_put_)); }
  // Row `back` before the newest one (0): [width]. back < n_known().
  const float* Newest(int32_t back = 0) const;
  // The newest `n` rows, oldest first: [n, width].
  void Gather(int32_t n, std::vector<float>& rows) const;
  // Takes as many committed rows of `other` as there is room for, instead of its own.
  void CopyFrom(const QueryRing& other);

 private:
  int32_t capacity_ = 1;
  int64_t width_ = 0;
  int64_t end_ = 0;        // committed rows ever put; row i lies in rows_[i % capacity_]
  int64_t n_known_ = 0;    // committed
  int64_t n_put_ = 0;      // rows of the batch under way
  int32_t n_pending_ = 0;  // the newest of them
  std::vector<float> rows_, pending_;
};

}  // namespace arkvale
