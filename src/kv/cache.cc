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
  return {.layer = layer,
          .ctx = &ctx,
          .pool = &pools[layer],
          .hot_device = config.tier.hot_device,
          .mover = mover ? &*mover : nullptr,
          .scratch = &scratch,
          .timings = &timings};
}

Status KvCache::Impl::Unshare(int32_t layer, BlockList& list, int64_t begin, int64_t end) {
  BlockPool& pool = pools[layer];
  for (int64_t b = begin / kBlockTokens; b * kBlockTokens < end; ++b) {
    BlockId& block = list.blocks[b - list.first];
    if (!pool.shared(block)) continue;
    ARKVALE_ASSIGN_OR_RETURN(const BlockId own, pool.Allocate());
    Mover::CopyBlock(pool, own, block);
    pool.Release(block);
    block = own;
  }
  return OkStatus();
}

Status KvCache::Impl::Reserve(Sequence& seq, int32_t n_new, KvPhase phase) {
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    LayerState& state = seq.layers[l];
    BlockList& list = state.list;
    const int64_t n_cells = state.n_cells(seq.n_tokens), end = n_cells + n_new;
    // Shared blocks that this batch will write become our own: copy on write.
    if (n_cells % kBlockTokens != 0) ARKVALE_RETURN_IF_ERROR(Unshare(l, list, n_cells - 1, n_cells));
    if (state.tokens != nullptr) {
      state.tokens->Begin(n_new);
      if (phase != KvPhase::kPrefill) {
        const int64_t overwritten = state.tokens->CellsOverwritten(phase == KvPhase::kStep);
        ARKVALE_RETURN_IF_ERROR(Unshare(l, list, 0, std::min(overwritten, n_cells)));
      }
    }
    if (state.sums != nullptr) state.sums->Reserve(end);
    GrowCapacity(list.blocks, (end + kBlockTokens - 1) / kBlockTokens - list.first);
    while (list.end_position() < end) {
      ARKVALE_ASSIGN_OR_RETURN(const BlockId block, pools[l].Allocate());
      list.blocks.push_back(block);
    }
    if (state.pages != nullptr) state.pages->Reserve(end);
  }
  return OkStatus();
}

void KvCache::Impl::TrimBlocks(int32_t layer, BlockList& list, int64_t n_cells) {
  while (!list.blocks.empty() && list.end_position() - kBlockTokens >= n_cells) {
    pools[layer].Release(list.blocks.back());
    list.blocks.pop_back();
  }
}

// Back to what the committed tokens need.
void KvCache::Impl::ReleaseUncommitted(Sequence& seq) {
  for (int32_t l = 0; l < config.shape.n_layers(); ++l) {
    LayerState& state = seq.layers[l];
    state.queries.Abort();
    if (state.tokens != nullptr) state.tokens->Abort();
    if (state.sums != nullptr) state.sums->Abort();
    TrimBlocks(l, state.list, state.n_cells(seq.n_tokens));
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
    ARKVALE_RETURN_IF_ERROR(Reserve(*seq, item.n_new, item.phase));
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
      StoreRows(*ctx.pool, pools[layer], shape, state.list, state.n_cells(rows.seq->n_tokens), k_rows, v_rows);
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
    for (int32_t l = 0; l < s.config.shape.n_layers(); ++l) {
      LayerState& layer = seq.layers[l];
      layer.queries.Commit();
      if (layer.sums != nullptr) layer.sums->Commit();
      if (layer.tokens != nullptr) {
        layer.tokens->Commit(layer.list, s.pools[l]);
        s.TrimBlocks(l, layer.list, layer.tokens->n_cells());
      }
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
