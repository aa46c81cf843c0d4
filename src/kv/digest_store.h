// DigestStore: the digests of one (sequence, managed layer), and the value codes of its pages where a zone is read.
// Vectors, bit planes and value codes lie apart, each contiguous over the pages of a kv head, so that a pass over one
// part reads nothing else. Always hot, kept while the sequence lives.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "ops/digest.h"
#include "ops/value_codes.h"
#include "ops/zone_attention.h"

namespace arkvale {

// What the options keep of the V of a page and kv head; no bytes without a zone. Errors as MakeValueCodeLayout.
Result<ValueCodeLayout> ZoneValueLayout(const KvOptions& options, int32_t head_dim_v);

class DigestStore {
 public:
  DigestStore(const DigestLayout& layout, const ValueCodeLayout& values, int32_t n_kv_heads);

  int64_t n_pages() const { return n_pages_; }
  // What the digests of n_pages() take, without room kept for more.
  int64_t bytes() const {
    return n_pages_ * (layout_.bytes() + values_.page_bytes) * static_cast<int64_t>(heads_.size());
  }

  // What a step reads that ranks all pages and estimates n pages of a kv head.
  int64_t StepBytes(int64_t n) const {
    return n_pages_ * layout_.bytes() * static_cast<int64_t>(heads_.size()) + n * values_.page_bytes;
  }

  // Room for n pages, so that Resize up to n does not allocate.
  void Reserve(int64_t n);
  // Room for pages [n_pages(), n); forgets pages when n is smaller.
  void Resize(int64_t n);

  // Where the digest of a page goes; `keys` as in DigestBuildItem.
  DigestBuildItem BuildItem(int32_t kv_head, int64_t page, const void* keys);
  bool has_values() const { return values_.page_bytes > 0; }
  // Where the value codes of a page go; `values` as in ValueCodeItem.
  ValueCodeItem ValueItem(int32_t kv_head, int64_t page, const void* values);
  // The digests of pages [0, n_pages); q and scores are the caller's to set.
  DigestScoreItem ScoreItem(int32_t kv_head, int64_t n_pages) const;
  // The zone `pages`, which outlive the item; q, out and lse are the caller's to set.
  ZoneAttentionItem ZoneItem(int32_t kv_head, std::span<const int32_t> pages) const;

 private:
  struct Head {
    std::vector<std::byte> vectors;
    std::vector<std::byte> planes[2];
    std::vector<std::byte> values;
  };

  const DigestLayout layout_;
  const ValueCodeLayout values_;  // page_bytes 0: none
  int64_t n_pages_ = 0;
  std::vector<Head> heads_;
};

}  // namespace arkvale
