#include "kv/cache.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/clock.h"
#include "kv/cache_impl.h"

namespace arkvale {

KvCache::KvCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KvCache::~KvCache() = default;

Result<std::unique_ptr<KvCache>> KvCache::Make(Config config, const OpContext& ctx) {
  auto impl = std::make_unique<Impl>(std::move(config), ctx);
  for (const KvLayerShape& layer : impl->config.shape.layers) {
    ARKVALE_ASSIGN_OR_RETURN(BlockPool pool, BlockPool::Make(layer, DType::kF16, &impl->host_budget));
    impl->pools.push_back(std::move(pool));
  }
  if (!impl->config.tier.reads_in_place()) impl->mover.emplace(*impl->config.tier.hot_device);
  return std::unique_ptr<KvCache>(new KvCache(std::move(impl)));
}

LayerEnv KvCache::Impl::Env(int32_t layer) {
  return {.ctx = &ctx,
          .pool = &pools[layer],
          .hot_device = config.tier.hot_device,
          .mover = mover ? &*mover : nullptr,
          .hot_budget = &hot_budget,
          .scratch = &scratch,
          .timings = &timings};
}

Sequence* KvCache::Impl::Find(SeqId id) {
  const auto it = sequences.find(id);
  return it == sequences.end() ? nullptr : it->second.get();
}

void KvCache::Impl::ReleaseBlocks(Sequence& seq) {
  for (size_t l = 0; l < seq.layers.size(); ++l) {
    for (const BlockId block : seq.layers[l].list.blocks) pools[l].Release(block);
    seq.layers[l].list.blocks.clear();
  }
}

Result<std::unique_ptr<Sequence>> KvCache::Impl::NewSequence(const KvOptions& options) {
  auto seq = std::make_unique<Sequence>();
  seq->layers.resize(config.shape.n_layers());
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    const KvLayerShape& shape = config.shape.layers[l];
    if (shape.window > 0) continue;  // sliding layers keep their window whatever the policy
    const PageBudget budget = MakePageBudget(options, l, config.tier.reads_in_place());
    if (budget.pages == 0) continue;
    ARKVALE_RETURN_IF_ERROR(options.Validate(config.shape.n_layers(), shape.n_kv_heads));
    ARKVALE_ASSIGN_OR_RETURN(seq->layers[l].pages, LayerPages::Make(Env(l), shape, options, budget));
  }
  return seq;
}

Result<SeqId> KvCache::Create(const KvOptions& options) {
  ARKVALE_ASSIGN_OR_RETURN(auto seq, impl_->NewSequence(options));
  const SeqId id(impl_->next_id++);
  impl_->sequences.emplace(id, std::move(seq));
  return id;
}

Result<SeqId> KvCache::Fork(SeqId parent_id, const KvOptions& options) {
  Sequence* parent = impl_->Find(parent_id);
  if (parent == nullptr) return NotFound("no sequence " + std::to_string(parent_id.value()));
  if (!impl_->batch.empty()) return InvalidArgument("a sequence cannot be forked inside a batch");
  ARKVALE_ASSIGN_OR_RETURN(auto seq, impl_->NewSequence(options));
  seq->n_tokens = parent->n_tokens;
  for (size_t l = 0; l < seq->layers.size(); ++l) {
    LayerState& from = parent->layers[l];
    LayerState& to = seq->layers[l];
    if (from.pages != nullptr) ARKVALE_RETURN_IF_ERROR(from.pages->FlushToBlocks(from.list, parent->n_tokens));
    to.list = from.list;
    to.last_q = from.last_q;
    for (const BlockId block : to.list.blocks) impl_->pools[l].AddRef(block);
  }
  for (LayerState& layer : seq->layers) {
    if (layer.pages == nullptr || seq->n_tokens == 0) continue;
    const Status adopted =
        layer.pages->Adopt(layer.list, seq->n_tokens, layer.last_q.empty() ? nullptr : layer.last_q.data());
    if (!adopted.ok()) {
      impl_->ReleaseBlocks(*seq);
      return adopted;
    }
  }
  impl_->UpdatePeak(*seq);
  const SeqId id(impl_->next_id++);
  impl_->sequences.emplace(id, std::move(seq));
  return id;
}

Status KvCache::Drop(SeqId id) {
  Sequence* seq = impl_->Find(id);
  if (seq == nullptr) return NotFound("no sequence " + std::to_string(id.value()));
  for (const BatchRows& rows : impl_->batch) {
    if (rows.seq == seq) return InvalidArgument("a sequence cannot be dropped inside its batch");
  }
  for (LayerState& layer : seq->layers) layer.pages.reset();  // waits for copies to and from the blocks
  impl_->ReleaseBlocks(*seq);
  impl_->sequences.erase(id);
  return OkStatus();
}

Status KvCache::Impl::Reserve(Sequence& seq, int32_t n_new) {
  const int64_t end = seq.n_tokens + n_new;
  for (size_t l = 0; l < seq.layers.size(); ++l) {
    BlockList& list = seq.layers[l].list;
    // A shared block that this batch will write becomes our own: copy on write.
    if (seq.n_tokens % kBlockTokens != 0 && pools[l].shared(list.blocks.back())) {
      ARKVALE_ASSIGN_OR_RETURN(const BlockId own, pools[l].Allocate());
      Mover::CopyBlock(pools[l], own, list.blocks.back());
      pools[l].Release(list.blocks.back());
      list.blocks.back() = own;
    }
    while (list.end_position() < end) {
      ARKVALE_ASSIGN_OR_RETURN(const BlockId block, pools[l].Allocate());
      list.blocks.push_back(block);
    }
  }
  return OkStatus();
}

void KvCache::Impl::ReleaseUncommitted(Sequence& seq) {
  for (size_t l = 0; l < seq.layers.size(); ++l) {
    BlockList& list = seq.layers[l].list;
    while (!list.blocks.empty() && list.end_position() - kBlockTokens >= seq.n_tokens) {
      pools[l].Release(list.blocks.back());
      list.blocks.pop_back();
    }
  }
}

Status KvCache::Begin(std::span<const KvBatchItem> batch) {
  Impl& s = *impl_;
  if (!s.batch.empty()) return InvalidArgument("a batch is already under way");
  if (batch.empty()) return InvalidArgument("empty batch");
  int64_t row = 0;
  Status status;
  for (const KvBatchItem& item : batch) {
    Sequence* seq = s.Find(item.seq);
    if (seq == nullptr) {
      status = NotFound("no sequence " + std::to_string(item.seq.value()));
    } else if (!seq->broken.ok()) {
      status = seq->broken;
    } else if (item.n_new < 1 || (item.phase == KvPhase::kStep && item.n_new != 1)) {
      status = InvalidArgument("a batch item of " + std::to_string(item.n_new) +
                               " tokens: a step has 1, a prefill chunk at least 1");
    } else if (std::any_of(s.batch.begin(), s.batch.end(), [&](const BatchRows& r) { return r.seq == seq; })) {
      status = InvalidArgument("sequence " + std::to_string(item.seq.value()) + " is twice in a batch");
    }
    if (!status.ok()) break;
    s.batch.push_back({seq, row, item.n_new, item.phase});
    row += item.n_new;
    status = s.Reserve(*seq, item.n_new);
    if (!status.ok()) break;
  }
  if (!status.ok()) {
    for (const BatchRows& rows : s.batch) s.ReleaseUncommitted(*rows.seq);
    s.batch.clear();
    return status;
  }
  s.n_rows = row;
  return OkStatus();
}

Status KvCache::Append(int32_t layer, const MatrixView& k, const MatrixView& v) {
  Impl& s = *impl_;
  const KvLayerShape& shape = s.config.shape.layers[layer];
  ARKVALE_CHECK(!s.batch.empty());
  if (k.rows != s.n_rows || v.rows != s.n_rows || k.cols != int64_t{shape.n_kv_heads} * shape.head_dim_k ||
      v.cols != int64_t{shape.n_kv_heads} * shape.head_dim_v) {
    return InvalidArgument("Append: k and v do not have the batch's rows and the layer's heads");
  }
  const int64_t start = NowNs();
  for (const BatchRows& rows : s.batch) {
    LayerState& state = rows.seq->layers[layer];
    const MatrixView k_rows{k.row(rows.first), rows.n, k.cols, k.stride};
    const MatrixView v_rows{v.row(rows.first), rows.n, v.cols, v.stride};
    if (state.pages != nullptr) {
      ARKVALE_RETURN_IF_ERROR(state.pages->Append(state.list, rows.seq->n_tokens, k_rows, v_rows));
    } else {
      StoreRows(*s.ctx.pool, s.pools[layer], shape, state.list, rows.seq->n_tokens, k_rows, v_rows);
    }
  }
  s.timings.append_ns += NowNs() - start;
  return OkStatus();
}

Status KvCache::Commit() {
  Impl& s = *impl_;
  ARKVALE_CHECK(!s.batch.empty());
  for (const BatchRows& rows : s.batch) {
    Sequence& seq = *rows.seq;
    seq.n_tokens += rows.n;
    seq.steps += rows.phase == KvPhase::kStep ? 1 : 0;
    for (size_t l = 0; l < seq.layers.size(); ++l) {
      LayerState& layer = seq.layers[l];
      std::swap(layer.last_q, layer.pending_q);
      const int32_t window = s.config.shape.layers[l].window;
      if (window == 0) continue;
      // The next token reads positions > n_tokens - window.
      size_t dead = 0;
      while ((layer.list.first + static_cast<int64_t>(dead) + 1) * kBlockTokens <= seq.n_tokens - window + 1) ++dead;
      for (size_t i = 0; i < dead; ++i) s.pools[l].Release(layer.list.blocks[i]);
      layer.list.blocks.erase(layer.list.blocks.begin(), layer.list.blocks.begin() + static_cast<int64_t>(dead));
      layer.list.first += static_cast<int64_t>(dead);
    }
    if (rows.phase != KvPhase::kPrefill) s.UpdatePeak(seq);
  }
  s.batch.clear();
  return OkStatus();
}

void KvCache::Abort() {
  Impl& s = *impl_;
  for (const BatchRows& rows : s.batch) {
    Sequence& seq = *rows.seq;
    for (LayerState& layer : seq.layers) {
      if (layer.pages == nullptr) continue;
      const Status undone = layer.pages->Truncate(layer.list, seq.n_tokens);
      // Only a tier that moves bytes can fail here: the sequence then refuses further batches.
      if (!undone.ok()) seq.broken = undone;
    }
    s.ReleaseUncommitted(seq);
  }
  s.batch.clear();
}

int64_t KvCache::n_tokens(SeqId id) const {
  const Sequence* seq = impl_->Find(id);
  return seq == nullptr ? -1 : seq->n_tokens;
}

KvTimings KvCache::timings() const { return impl_->timings; }
const KvShape& KvCache::shape() const { return impl_->config.shape; }

int64_t KvCache::FullBytes(int64_t n_tokens) const {
  int64_t bytes = 0;
  for (size_t l = 0; l < impl_->pools.size(); ++l) {
    const int32_t window = impl_->config.shape.layers[l].window;
    const int64_t kept = window > 0 ? std::min<int64_t>(n_tokens, window) : n_tokens;
    bytes += kept * (impl_->pools[l].block_bytes() / kBlockTokens);
  }
  return bytes;
}

int64_t KvCache::Impl::HotBytes(const Sequence& seq) const {
  int64_t bytes = 0;
  for (size_t l = 0; l < seq.layers.size(); ++l) {
    const LayerState& layer = seq.layers[l];
    bytes += layer.pages != nullptr ? layer.pages->hot_bytes()
                                    : static_cast<int64_t>(layer.list.blocks.size()) * pools[l].block_bytes();
  }
  return bytes;
}

void KvCache::Impl::UpdatePeak(Sequence& seq) const { seq.hot_peak = std::max(seq.hot_peak, HotBytes(seq)); }

Result<KvStats> KvCache::stats(SeqId id) const {
  const Sequence* seq = impl_->Find(id);
  if (seq == nullptr) return NotFound("no sequence " + std::to_string(id.value()));
  KvStats stats;
  stats.n_tokens = seq->n_tokens;
  stats.steps = seq->steps;
  stats.hot_bytes = impl_->HotBytes(*seq);
  stats.hot_bytes_peak = seq->hot_peak;
  stats.full_bytes = FullBytes(seq->n_tokens);
  for (size_t l = 0; l < seq->layers.size(); ++l) {
    const LayerState& layer = seq->layers[l];
    const int64_t block_bytes = static_cast<int64_t>(layer.list.blocks.size()) * impl_->pools[l].block_bytes();
    stats.total_bytes += block_bytes;
    if (layer.pages == nullptr) continue;
    stats.host_bytes += block_bytes;
    stats.digest_bytes += layer.pages->digest_bytes();
    const PageTable& table = layer.pages->table();
    for (int32_t g = 0; g < table.n_groups(); ++g) {
      stats.resident_pages += table.n_hot(g);
      stats.evicted_pages_now += table.n_pages(g) - table.n_hot(g);
    }
    stats.counters.Add(table.counters());
  }
  stats.total_bytes += stats.digest_bytes;
  return stats;
}

}  // namespace arkvale
