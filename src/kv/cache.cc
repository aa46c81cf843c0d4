#include "kv/cache.h"

#include <algorithm>
#include <string>

#include "base/bad_alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "kv/cache_impl.h"
#include "kv/grow.h"

namespace arkvale {

KvCache::KvCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KvCache::~KvCache() = default;

Result<std::unique_ptr<KvCache>> KvCache::Make(Config config, const OpContext& ctx) {
  return CatchBadAlloc([&]() -> Result<std::unique_ptr<KvCache>> {
    auto impl = std::make_unique<Impl>(std::move(config), ctx);
    for (const KvLayerShape& layer : impl->config.shape.layers) {
      ARKVALE_ASSIGN_OR_RETURN(BlockPool pool, BlockPool::Make(layer, impl->config.shape.dtype, &impl->host_budget));
      impl->pools.push_back(std::move(pool));
    }
    if (!impl->config.tier.reads_in_place()) impl->mover.emplace(*impl->config.tier.hot_device);
    return std::unique_ptr<KvCache>(new KvCache(std::move(impl)));
  });
}

LayerEnv KvCache::Impl::Env(int32_t layer) {
  return {.ctx = &ctx,
          .pool = &pools[layer],
          .hot_device = config.tier.hot_device,
          .mover = mover ? &*mover : nullptr,
          .scratch = &scratch,
          .timings = &timings};
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
    GrowCapacity(list.blocks, (end + kBlockTokens - 1) / kBlockTokens - list.first);
    while (list.end_position() < end) {
      ARKVALE_ASSIGN_OR_RETURN(const BlockId block, pools[l].Allocate());
      list.blocks.push_back(block);
    }
    if (seq.layers[l].pages != nullptr) seq.layers[l].pages->Reserve(end);
  }
  return OkStatus();
}

// Back to what the committed tokens need.
void KvCache::Impl::ReleaseUncommitted(Sequence& seq) {
  for (size_t l = 0; l < seq.layers.size(); ++l) {
    BlockList& list = seq.layers[l].list;
    while (!list.blocks.empty() && list.end_position() - kBlockTokens >= seq.n_tokens) {
      pools[l].Release(list.blocks.back());
      list.blocks.pop_back();
    }
  }
  seq.TakeHot(seq.n_tokens);  // fewer bytes than now
}

// Checks the items and reserves what they need; on failure `batch` holds those that may have taken something.
Status KvCache::Impl::Admit(std::span<const KvBatchItem> items) {
  if (items.empty()) return InvalidArgument("empty batch");
  n_rows = 0;
  for (const KvBatchItem& item : items) {
    Sequence* seq = Find(item.seq);
    if (seq == nullptr) return NotFound("no sequence " + std::to_string(item.seq.value()));
    if (!seq->broken.ok()) return seq->broken;
    if (item.n_new < 1 || (item.phase == KvPhase::kStep && item.n_new != 1)) {
      return InvalidArgument("a batch item of " + std::to_string(item.n_new) +
                             " tokens: a step has 1, a prefill chunk at least 1");
    }
    if (std::any_of(batch.begin(), batch.end(), [&](const BatchRows& r) { return r.seq == seq; })) {
      return InvalidArgument("sequence " + std::to_string(item.seq.value()) + " is twice in a batch");
    }
    batch.push_back({seq, n_rows, item.n_new, item.phase});
    n_rows += item.n_new;
    if (!seq->TakeHot(seq->n_tokens + item.n_new)) return HotFull(*seq, seq->n_tokens + item.n_new);
    ARKVALE_RETURN_IF_ERROR(Reserve(*seq, item.n_new));
  }
  return OkStatus();
}

Status KvCache::Begin(std::span<const KvBatchItem> batch) {
  Impl& s = *impl_;
  return CatchBadAlloc([&]() -> Status {
    if (!s.batch.empty()) return InvalidArgument("a batch is already under way");
    Status status = CatchBadAlloc([&] { return s.Admit(batch); });
    if (status.ok()) return status;
    for (const BatchRows& rows : s.batch) s.ReleaseUncommitted(*rows.seq);
    s.batch.clear();
    return status;
  });
}

Status KvCache::Impl::Append(int32_t layer, const MatrixView& k, const MatrixView& v) {
  const KvLayerShape& shape = config.shape.layers[layer];
  ARKVALE_CHECK(!batch.empty());
  if (k.rows != n_rows || v.rows != n_rows || k.cols != int64_t{shape.n_kv_heads} * shape.head_dim_k ||
      v.cols != int64_t{shape.n_kv_heads} * shape.head_dim_v) {
    return InvalidArgument("Append: k and v do not have the batch's rows and the layer's heads");
  }
  const int64_t start = NowNs();
  for (const BatchRows& rows : batch) {
    LayerState& state = rows.seq->layers[layer];
    const MatrixView k_rows{k.row(rows.first), rows.n, k.cols, k.stride};
    const MatrixView v_rows{v.row(rows.first), rows.n, v.cols, v.stride};
    if (state.pages != nullptr) {
      ARKVALE_RETURN_IF_ERROR(state.pages->Append(state.list, rows.seq->n_tokens, k_rows, v_rows));
    } else {
      StoreRows(*ctx.pool, pools[layer], shape, state.list, rows.seq->n_tokens, k_rows, v_rows);
    }
  }
  timings.append_ns += NowNs() - start;
  return OkStatus();
}

Status KvCache::Append(int32_t layer, const MatrixView& k, const MatrixView& v) {
  return CatchBadAlloc([&] { return impl_->Append(layer, k, v); });
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
      Status undone = CatchBadAlloc([&] { return layer.pages->Truncate(layer.list, seq.n_tokens); });
      // Only a tier that moves bytes can fail here: the sequence then refuses further batches.
      if (!undone.ok()) seq.broken = std::move(undone);
    }
    s.ReleaseUncommitted(seq);
  }
  s.batch.clear();
}

KvTimings KvCache::timings() const { return impl_->timings; }
const KvShape& KvCache::shape() const { return impl_->config.shape; }

}  // namespace arkvale
