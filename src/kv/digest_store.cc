#include "kv/digest_store.h"

#include "kv/grow.h"

namespace arkvale {

Result<ValueCodeLayout> ZoneValueLayout(const KvOptions& options, int32_t head_dim_v) {
  if (!options.ReadsZone()) return ValueCodeLayout{};
  return MakeValueCodeLayout(options.zone_value_bits, options.page_tokens, head_dim_v);
}

DigestStore::DigestStore(const DigestLayout& layout, const ValueCodeLayout& values, int32_t n_kv_heads)
    : layout_(layout), values_(values), heads_(n_kv_heads) {}

void DigestStore::Reserve(int64_t n) {
  for (Head& head : heads_) {
    GrowCapacity(head.vectors, n * layout_.vector_bytes);
    for (int32_t p = 0; p < layout_.n_planes; ++p) GrowCapacity(head.planes[p], n * layout_.plane_bytes);
    GrowCapacity(head.values, n * values_.page_bytes);
  }
}

void DigestStore::Resize(int64_t n) {
  Reserve(n);
  for (Head& head : heads_) {
    head.vectors.resize(n * layout_.vector_bytes);
    for (int32_t p = 0; p < layout_.n_planes; ++p) head.planes[p].resize(n * layout_.plane_bytes);
    head.values.resize(n * values_.page_bytes);
  }
  n_pages_ = n;
}

DigestBuildItem DigestStore::BuildItem(int32_t kv_head, int64_t page, const void* keys) {
  Head& head = heads_[kv_head];
  DigestBuildItem item{.keys = keys, .vectors = head.vectors.data() + page * layout_.vector_bytes};
  for (int32_t p = 0; p < layout_.n_planes; ++p) item.planes[p] = head.planes[p].data() + page * layout_.plane_bytes;
  return item;
}

ValueCodeItem DigestStore::ValueItem(int32_t kv_head, int64_t page, const void* values) {
  return {.values = values, .codes = heads_[kv_head].values.data() + page * values_.page_bytes};
}

DigestScoreItem DigestStore::ScoreItem(int32_t kv_head, int64_t n_pages) const {
  const Head& head = heads_[kv_head];
  DigestScoreItem item;
  item.vectors = head.vectors.data();
  item.n_pages = n_pages;
  for (int32_t p = 0; p < layout_.n_planes; ++p) item.planes[p] = head.planes[p].data();
  return item;
}

ZoneAttentionItem DigestStore::ZoneItem(int32_t kv_head, std::span<const int32_t> pages) const {
  const Head& head = heads_[kv_head];
  return {.vectors = head.vectors.data(),
          .planes = {head.planes[0].data(), head.planes[1].data()},
          .values = head.values.data(),
          .n_pages = n_pages_,
          .pages = pages};
}

}  // namespace arkvale
