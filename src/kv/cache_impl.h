// State behind KvCache, shared by cache.cc (batches), cache_sequences.cc and cache_attend.cc. Nobody else's header.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "kv/block_list.h"
#include "kv/block_pool.h"
#include "kv/byte_budget.h"
#include "kv/cache.h"
#include "kv/hot_bytes.h"
#include "kv/layer_pages.h"
#include "kv/layer_tokens.h"
#include "kv/mover.h"
#include "kv/paged_view.h"
#include "kv/query_ring.h"
#include "kv/token_mass.h"

namespace arkvale {

struct LayerState {
  BlockList list;
  std::unique_ptr<LayerPages> pages;    // managed layers only
  std::unique_ptr<LayerTokens> tokens;  // managed layers of policies that drop single tokens
  std::unique_ptr<TokenMass> sums;      // KvCollect::column_sums, where `tokens` is null
  QueryRing queries;                    // not of sliding layers

  const TokenMass* sums_or_null() const { return tokens != nullptr ? tokens->sums() : sums.get(); }
  // Tokens that the list holds, of a sequence with n_tokens.
  int64_t n_cells(int64_t n_tokens) const { return tokens == nullptr ? n_tokens : tokens->n_cells(); }
  // Tokens that a step can read without a recall, mean over kv heads.
  double HotTokens(int64_t n_tokens) const;
};

// Owns its blocks and its share of the hot limit: both go back when it dies.
struct Sequence {
  Sequence(std::vector<BlockPool>& block_pools, ByteBudget& hot) : pools(block_pools), hot_budget(hot) {}
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // Takes or gives back hot bytes so that they are those of n_tokens; false, with nothing changed, beyond the limit.
  bool TakeHot(int64_t n_tokens);

  std::vector<BlockPool>& pools;  // per layer
  ByteBudget& hot_budget;
  KvOptions options;
  HotPlan hot_plan;
  int64_t hot_taken = 0;

  int64_t n_tokens = 0;  // committed
  int64_t steps = 0;
  int64_t hot_peak = 0;
  Status broken;  // an undo that could not be finished
  std::vector<LayerState> layers;
};

// Rows [first, first + n) of the batch belong to `seq`.
struct BatchRows {
  Sequence* seq = nullptr;
  int64_t first = 0;
  int32_t n = 0;
  KvPhase phase = KvPhase::kStep;
};

// A step that reads pages of its own choice, or slots.
struct PagedStep {
  LayerState* state = nullptr;
  AttentionRows rows;
  size_t choice = 0;  // among the choices of the batch, if it made one
};

// Whether two sequences make the same choices.
inline bool SameButCollect(KvOptions a, const KvOptions& b) {
  a.collect = b.collect;
  return a == b;
}

struct KvCache::Impl {
  Impl(Config c, const OpContext& op_context)
      : config(std::move(c)),
        ctx(op_context),
        host_budget(config.host_limit_bytes),
        hot_budget(config.hot_limit_bytes) {}

  LayerEnv Env(int32_t layer);
  Sequence* Find(SeqId id);
  Status CheckOptions(const KvOptions& options) const;
  // With hot bytes for n_tokens, but without tokens.
  Result<std::unique_ptr<Sequence>> NewSequence(const KvOptions& options, int64_t n_tokens);
  SeqId Adopt(std::unique_ptr<Sequence> seq);
  Status CheckForkDepth(const Sequence& parent, int64_t n_tokens) const;
  Status CheckForkTokens(const Sequence& parent, const KvOptions& options, int64_t n_tokens) const;
  Status ShareBlocks(Sequence& parent, int64_t n_tokens, Sequence& child);
  Status AdoptLayers(const Sequence& parent, Sequence& child);
  Result<SeqId> ForkAt(SeqId parent, const KvOptions& options, int64_t n_tokens);
  Status Drop(SeqId id);
  Status Admit(std::span<const KvBatchItem> items);
  Status Reserve(Sequence& seq, int32_t n_new, KvPhase phase);
  // The list's own copies of shared blocks of cells [begin, end).
  Status Unshare(int32_t layer, BlockList& list, int64_t begin, int64_t end);
  void TrimBlocks(int32_t layer, BlockList& list, int64_t n_cells);
  Status Append(int32_t layer, const MatrixView& k, const MatrixView& v);
  Status Attend(int32_t layer, const MatrixView& q, const MatrixView& out);
  void ReleaseUncommitted(Sequence& seq);
  int64_t TokenBytes(int32_t layer) const { return pools[layer].block_bytes() / kBlockTokens; }
  // Of a layer that does not choose pages: K and V that a step can read.
  int64_t ReadableBytes(const Sequence& seq, int32_t layer) const;
  int64_t HotBytes(const Sequence& seq) const;
  void UpdatePeak(Sequence& seq) const { seq.hot_peak = std::max(seq.hot_peak, HotBytes(seq)); }
  Status HotFull(const Sequence& seq, int64_t n_tokens) const;

  // Layers whose tokens are judged by what queries look at (cache_tokens.cc).
  bool Watches(const BatchRows& rows, const LayerState& state) const;
  Status WatchPrefill(int32_t layer, const BatchRows& rows, const PagedKv& kv, const MatrixView& q);
  Status WatchSteps(int32_t layer, const MatrixView& q);
  Status LastRowLse(int32_t layer, const PagedKv& kv, int64_t n_tokens, const MatrixView& q);
  Status ForkTokens(int32_t layer, const Sequence& parent, int64_t n_tokens, LayerState& to);
  TokenPass Pass(int32_t layer, const PagedKv& kv, const MatrixView& q, const float* lse);

  Status AttendPrefill(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendPrefillMoving(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendSteps(int32_t layer, const MatrixView& q, const MatrixView& out);
  Status AttendPagedSteps(int32_t layer);
  Status MergeEvicted(int32_t layer, LayerState& state, const AttentionRows& rows);
  Status MergeZones(int32_t layer);
  Status Observe(int32_t layer, const MatrixView& q);
  void AddAllRows(int32_t layer, const LayerState& state, int64_t n_tokens, const AttentionRows& rows,
                  PagedView& view) const;

  const Config config;
  const OpContext ctx;
  ByteBudget host_budget, hot_budget;
  std::vector<BlockPool> pools;  // per layer
  std::optional<Mover> mover;    // tiers that move bytes
  KvScratch scratch;
  TokenScratch token_scratch;
  KvTimings timings;
  KvObserver* observer = nullptr;

  std::map<SeqId, std::unique_ptr<Sequence>> sequences;
  int32_t next_id = 0;

  // The batch under way; empty outside Begin..Commit.
  std::vector<BatchRows> batch;
  int64_t n_rows = 0;

  // Attention calls of a step: one view for sequences that read everything, one per shape of page otherwise.
  PagedView view;
  PagedView token_view;
  std::vector<PageChoice> choices;
  std::vector<PagedStep> paged_steps;
  std::vector<ZoneAttentionItem> zone_items;
  std::vector<float> lse, part_out, part_lse;
};

}  // namespace arkvale
