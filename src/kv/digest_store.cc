#include "kv/digest_store.h"

#include "ops/digest.h"

namespace arkvale {

DigestStore::DigestStore(DigestKind kind, DType dtype, int32_t n_kv_heads, int32_t head_dim)
    : kind_(kind),
      dtype_(dtype),
      digest_bytes_(DigestLength(kind, head_dim) * static_cast<int64_t>(DTypeBytes(dtype))),
      heads_(n_kv_heads) {}

void DigestStore::Resize(int64_t n) {
  n_pages_ = n;
  for (auto& head : heads_) head.resize(n * digest_bytes_);
}

}  // namespace arkvale
