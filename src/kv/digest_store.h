// DigestStore: the digests of one (sequence, managed layer), one contiguous array per kv head so that scoring is a
// single pass. Always hot, kept while the sequence lives. Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arkvale/kv_options.h"
#include "base/dtype.h"

namespace arkvale {

class DigestStore {
 public:
  DigestStore(DigestKind kind, DType dtype, int32_t n_kv_heads, int32_t head_dim);

  DigestKind kind() const { return kind_; }
  DType dtype() const { return dtype_; }
  int64_t n_pages() const { return n_pages_; }
  int64_t bytes() const { return n_pages_ * digest_bytes_ * static_cast<int64_t>(heads_.size()); }

  // Room for pages [n_pages(), n); forgets pages when n is smaller.
  void Resize(int64_t n);
  std::byte* page(int32_t kv_head, int64_t page) { return heads_[kv_head].data() + page * digest_bytes_; }
  const std::byte* head(int32_t kv_head) const { return heads_[kv_head].data(); }

 private:
  const DigestKind kind_;
  const DType dtype_;
  const int64_t digest_bytes_;
  int64_t n_pages_ = 0;
  std::vector<std::vector<std::byte>> heads_;
};

}  // namespace arkvale
