#include "kv/layer_pages.h"

#include <algorithm>

#include "base/bad_alloc.h"
#include "base/check.h"
#include "kv/hot_bytes.h"
#include "ops/convert.h"

namespace arkvale {
namespace {
PageExtent MakeExtent(const BlockPool& pool, const KvOptions& o) {
  return {.k_bytes = o.page_tokens * pool.k_row_bytes(),
          .v_bytes = o.page_tokens * pool.v_row_bytes(),
          .heads = o.group_heads};
}
}  // namespace

LayerPages::LayerPages(const LayerEnv& env, const KvLayerShape& shape, const KvOptions& o, const PageBudget& budget,
                       const DigestLayout& layout, const ValueCodeLayout& values)
    : env_(env),
      shape_(shape),
      budget_(budget),
      page_tokens_(o.page_tokens),
      group_heads_(o.group_heads),
      digest_(o.ResolvedDigest()),
      digest_type_(o.digest_type),
      combine_(o.ResolvedCombine()),
      attend_(o.attend),
      window_exit_(o.window_exit),
      rank_every_(o.rank_every),
      audit_every_(o.audit_every),
      zone_pages_(o.ReadsZone() ? o.zone_tokens / o.page_tokens : 0),
      value_bits_(o.zone_value_bits),
      extent_(MakeExtent(*env.pool, o)),
      table_(shape.n_kv_heads / o.group_heads, extent_.bytes()),
      digests_(layout, values, shape.n_kv_heads),
      selected_(shape.n_kv_heads / o.group_heads),
      zones_(shape.n_kv_heads / o.group_heads) {}

Result<std::unique_ptr<LayerPages>> LayerPages::Make(const LayerEnv& env, const KvLayerShape& shape,
                                                     const KvOptions& options, const PageBudget& budget) {
  ARKVALE_ASSIGN_OR_RETURN(const DigestLayout layout, MakeDigestLayout(options.ResolvedDigest(), options.digest_type,
                                                                       options.page_tokens, shape.head_dim_k));
  ARKVALE_ASSIGN_OR_RETURN(const ValueCodeLayout values, ZoneValueLayout(options, shape.head_dim_v));
  std::unique_ptr<LayerPages> layer(new LayerPages(env, shape, options, budget, layout, values));
  if (!layer->in_place()) {
    const int32_t n_slots = layer->n_groups() * SlotsPerGroup(budget);
    const PageExtent& e = layer->extent_;
    ARKVALE_ASSIGN_OR_RETURN(layer->slots_,
                             SlotPool::Make(*env.hot_device, n_slots, e.heads * e.k_bytes, e.heads * e.v_bytes));
    layer->backups_.reserve(n_slots);
    layer->recalls_.reserve(n_slots);
  }
  return layer;
}

LayerPages::~LayerPages() {
  // Copies under way still read or write our memory.
  const auto wait = [&](const Pending& p) { return env_.mover->Wait(p.copy); };
  for (const Pending& p : backups_) (void)CatchBadAlloc([&] { return wait(p); });
  for (const Pending& p : recalls_) (void)CatchBadAlloc([&] { return wait(p); });
}

void LayerPages::Reserve(int64_t n_tokens) {
  table_.Reserve((n_tokens + page_tokens_ - 1) / page_tokens_);
  digests_.Reserve(n_tokens / page_tokens_);
}

int64_t LayerPages::hot_bytes() const { return in_place() ? table_.hot_bytes() : slots_.bytes(); }

PageAddress LayerPages::SlotAddress(SlotId slot) const {
  return {slots_.k(slot), slots_.v(slot), extent_.k_bytes, extent_.v_bytes};
}

PageAddress LayerPages::BlockAddress(const BlockList& blocks, int32_t group, int32_t page) const {
  const int64_t position = int64_t{page} * page_tokens_;
  const BlockId block = blocks.at(position);
  const int64_t token = int64_t{group} * group_heads_ * kBlockTokens + position % kBlockTokens;
  const BlockPool& pool = *env_.pool;
  return {pool.k(block) + token * pool.k_row_bytes(), pool.v(block) + token * pool.v_row_bytes(),
          kBlockTokens * pool.k_row_bytes(), kBlockTokens * pool.v_row_bytes()};
}

Status LayerPages::Append(const BlockList& blocks, int64_t position0, const MatrixView& k, const MatrixView& v) {
  PollBackups();
  ARKVALE_CHECK(position0 == n_tokens_);
  page_opened_ = false;
  if (in_place()) {
    StoreRows(*env_.ctx->pool, *env_.pool, shape_, blocks, position0, k, v);
    const auto full_before = static_cast<int32_t>(n_tokens_ / page_tokens_);
    n_tokens_ += k.rows;
    const auto full = static_cast<int32_t>(n_tokens_ / page_tokens_);
    for (int32_t g = 0; g < n_groups(); ++g) {
      for (int32_t page = full_before; int64_t{page} * page_tokens_ < n_tokens_; ++page) {
        if (page == table_.n_pages(g)) ARKVALE_RETURN_IF_ERROR(OpenPage(blocks, g));
        if (page >= full) break;
        table_.Fill(g, page);
        table_.BackupDone(g, page);  // the block is the backup
      }
    }
    return BuildDigests(blocks, full_before, full);
  }
  const BlockPool& pool = *env_.pool;
  for (int64_t i = 0; i < k.rows; ++i, ++n_tokens_) {
    const auto page = static_cast<int32_t>(n_tokens_ / page_tokens_);
    const int64_t token = n_tokens_ % page_tokens_;
    for (int32_t g = 0; g < n_groups(); ++g) {
      if (token == 0) ARKVALE_RETURN_IF_ERROR(OpenPage(blocks, g));
      const PageAddress to = SlotAddress(table_.slot(g, page));
      for (int32_t j = 0; j < group_heads_; ++j) {
        const int64_t head = int64_t{g} * group_heads_ + j;
        ConvertRow(pool.dtype(), k.row(i) + head * shape_.head_dim_k,
                   to.k + j * to.k_head_stride + token * pool.k_row_bytes(), shape_.head_dim_k);
        ConvertRow(pool.dtype(), v.row(i) + head * shape_.head_dim_v,
                   to.v + j * to.v_head_stride + token * pool.v_row_bytes(), shape_.head_dim_v);
      }
    }
    if (token + 1 == page_tokens_) ARKVALE_RETURN_IF_ERROR(FillPage(blocks, page));
  }
  return OkStatus();
}

Status LayerPages::OpenPage(const BlockList& blocks, int32_t group) {
  page_opened_ = true;
  if (in_place()) {
    table_.Open(group, SlotId());
    return OkStatus();
  }
  // Inside a prefill more pages pass than there are slots: the oldest full page after the sinks makes room.
  if (table_.n_hot(group) > budget_.pages) {
    int32_t victim = std::min(budget_.sinks, table_.n_pages(group) - 1);
    while (!IsHot(table_.state(group, victim))) ++victim;
    ARKVALE_RETURN_IF_ERROR(EvictPage(blocks, group, victim));
  }
  const SlotId slot = slots_.Acquire();
  ARKVALE_CHECK(slot.valid());
  table_.Open(group, slot);
  return OkStatus();
}

Status LayerPages::FillPage(const BlockList& blocks, int32_t page) {
  ARKVALE_RETURN_IF_ERROR(BuildDigests(blocks, page, page + 1));
  for (int32_t g = 0; g < n_groups(); ++g) {
    StartBackup(blocks, g, page);  // first, for it may fail: a page that is backing up has a copy under way
    table_.Fill(g, page);
  }
  return OkStatus();
}

// Where a full page can be read.
PageAddress LayerPages::FullPage(const BlockList& blocks, int32_t group, int32_t page) const {
  const bool hot_slot = !in_place() && page < table_.n_pages(group) && IsHot(table_.state(group, page));
  return hot_slot ? SlotAddress(table_.slot(group, page)) : BlockAddress(blocks, group, page);
}

// Of pages [first_page, end_page), value codes too where there is a zone.
Status LayerPages::BuildDigests(const BlockList& blocks, int32_t first_page, int32_t end_page) {
  if (first_page >= end_page) return OkStatus();
  digests_.Resize(end_page);
  auto& items = env_.scratch->build_items;
  auto& value_items = env_.scratch->value_items;
  items.clear();
  value_items.clear();
  for (int32_t page = first_page; page < end_page; ++page) {
    for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
      const int32_t j = head % group_heads_;
      const PageAddress from = FullPage(blocks, head / group_heads_, page);
      items.push_back(digests_.BuildItem(head, page, from.k + j * from.k_head_stride));
      if (!digests_.has_values()) continue;
      value_items.push_back(digests_.ValueItem(head, page, from.v + j * from.v_head_stride));
    }
  }
  ARKVALE_RETURN_IF_ERROR(DigestBuild(*env_.ctx, {.kind = digest_,
                                                  .key_dtype = env_.pool->dtype(),
                                                  .type = digest_type_,
                                                  .page_tokens = page_tokens_,
                                                  .head_dim = shape_.head_dim_k,
                                                  .items = items}));
  if (value_items.empty()) return OkStatus();
  return ValueCodesBuild(*env_.ctx, {.value_dtype = env_.pool->dtype(),
                                     .bits = value_bits_,
                                     .page_tokens = page_tokens_,
                                     .head_dim = shape_.head_dim_v,
                                     .items = value_items});
}

Status LayerPages::Truncate(const BlockList& blocks, int64_t n_tokens) {
  ARKVALE_CHECK(n_tokens <= n_tokens_);
  page_opened_ = false;
  const auto n_pages = static_cast<int32_t>((n_tokens + page_tokens_ - 1) / page_tokens_);
  for (int32_t g = 0; g < n_groups(); ++g) {
    while (table_.n_pages(g) > n_pages) {
      const int32_t last = table_.n_pages(g) - 1;
      if (table_.state(g, last) == PageState::kBackingUp) ARKVALE_RETURN_IF_ERROR(FinishBackupOf(blocks, g, last));
      const SlotId slot = table_.Close(g);
      if (slot.valid()) slots_.Release(slot);
    }
    if (n_tokens % page_tokens_ == 0 || table_.state(g, n_pages - 1) == PageState::kFilling) continue;
    // The last page filled up in the batch that is undone: it must be open, and hot, again.
    if (table_.state(g, n_pages - 1) == PageState::kBackingUp) {
      ARKVALE_RETURN_IF_ERROR(FinishBackupOf(blocks, g, n_pages - 1));
    }
    if (table_.state(g, n_pages - 1) == PageState::kEvicted) {
      StartRecall(blocks, g, n_pages - 1);
      ARKVALE_RETURN_IF_ERROR(FinishRecalls());
    }
    table_.Unfill(g, n_pages - 1);
  }
  n_tokens_ = n_tokens;
  digests_.Resize(std::min<int64_t>(digests_.n_pages(), n_tokens / page_tokens_));
  for (auto* lists : {&selected_, &zones_}) {
    for (auto& pages : *lists) pages.clear();
  }
  if (shortlist_.n_tokens > n_tokens) {
    std::swap(shortlist_, earlier_);
    earlier_.pages.clear();
  }
  return OkStatus();
}

Status LayerPages::Adopt(const BlockList& blocks, int64_t n_tokens, const float* q) {
  ARKVALE_CHECK(n_tokens_ == 0);
  Reserve(n_tokens);
  n_tokens_ = n_tokens;
  const auto full = static_cast<int32_t>(n_tokens / page_tokens_);
  const auto n_pages = static_cast<int32_t>((n_tokens + page_tokens_ - 1) / page_tokens_);
  for (int32_t g = 0; g < n_groups(); ++g) {
    for (int32_t page = 0; page < n_pages; ++page) {
      if (in_place() || page >= full) {
        ARKVALE_RETURN_IF_ERROR(OpenPage(blocks, g));
      } else {
        table_.Open(g, SlotId());
      }
      if (page >= full) break;
      table_.Fill(g, page);
      table_.BackupDone(g, page);
      if (!in_place()) table_.Evict(g, page);
    }
    if (in_place() || full == n_pages) continue;
    const SlotId slot = table_.slot(g, full);  // the filling page lies in its block; read it like a recall
    const Mover::Copy copy =
        env_.mover->Start(Mover::Direction::kRecall, SlotAddress(slot), BlockAddress(blocks, g, full), extent_);
    ARKVALE_RETURN_IF_ERROR(env_.mover->Wait(copy));
    table_.CountMoved(extent_.bytes());
  }
  ARKVALE_RETURN_IF_ERROR(BuildDigests(blocks, 0, full));
  page_opened_ = false;
  if (over_budget() && q != nullptr) return SelectAfterPrefill(blocks, q);
  return AdoptByPageOrder(blocks);
}

// All pages, or under a budget that is too small the sinks and the newest.
Status LayerPages::AdoptByPageOrder(const BlockList& blocks) {
  const int32_t n_pages = table_.n_pages();
  const int32_t newest = over_budget() ? n_pages - (budget_.pages - budget_.sinks) : 0;
  for (int32_t g = 0; g < n_groups(); ++g) {
    for (int32_t page = 0; page < n_pages; ++page) {
      const bool resident = page < budget_.sinks || page >= newest || !budget_.evicts;
      if (resident && !IsHot(table_.state(g, page))) StartRecall(blocks, g, page);
      if (!resident && IsHot(table_.state(g, page))) ARKVALE_RETURN_IF_ERROR(EvictPage(blocks, g, page));
    }
  }
  return FinishRecalls();
}

Status LayerPages::FlushToBlocks(const BlockList& blocks, int64_t n_tokens) {
  if (in_place()) return OkStatus();
  while (!backups_.empty()) ARKVALE_RETURN_IF_ERROR(FinishBackup(blocks, 0));
  if (n_tokens % page_tokens_ == 0) return OkStatus();
  const auto page = static_cast<int32_t>(n_tokens / page_tokens_);
  for (int32_t g = 0; g < n_groups(); ++g) {
    const Mover::Copy copy = env_.mover->Start(Mover::Direction::kBackup, BlockAddress(blocks, g, page),
                                               SlotAddress(table_.slot(g, page)), extent_);
    ARKVALE_RETURN_IF_ERROR(env_.mover->Wait(copy));
    table_.CountMoved(extent_.bytes());
  }
  return OkStatus();
}

}  // namespace arkvale
