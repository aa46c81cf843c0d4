// DigestStore: the digests of one (sequence, managed layer). Vectors and bit planes lie apart, each contiguous over the
// pages of a kv head, so that a pass over one part reads nothing else. Always hot, kept while the sequence lives.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/digest.h"

namespace arkvale {

class DigestStore {
 public:
  DigestStore(const DigestLayout& layout, int32_t n_kv_heads);

  int64_t n_pages() const { return n_pages_; }
  // What the digests of n_pages() take, without room kept for more.
  int64_t bytes() const { return n_pages_ * layout_.bytes() * static_cast<int64_t>(heads_.size()); }

  // Room for n pages, so that Resize up to n does not allocate.
  void Reserve(int64_t n);
  // Room for pages [n_pages(), n); forgets pages when n is smaller.
  void Resize(int64_t n);

  // Where the digest of a page goes; `keys` as in DigestBuildItem.
  DigestBuildItem BuildItem(int32_t kv_head, int64_t page, const void* keys);
  // The digests of pages [0, n_pages); q and scores are the caller's to set.
  DigestScoreItem ScoreItem(int32_t kv_head, int64_t n_pages) const;

 private:
  struct Head {
    std::vector<std::byte> vectors;
    std::vector<std::byte> planes[2];
  };

  const DigestLayout layout_;
  int64_t n_pages_ = 0;
  std::vector<Head> heads_;
};

}  // namespace arkvale
