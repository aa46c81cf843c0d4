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
#include "kv/mover.h"
#include "kv/paged_view.h"

namespace arkvale {

struct LayerState {
  BlockList list;
  std::unique_ptr<LayerPages> pages;  // managed layers only
  std::vector<float> last_q;          // [n_q_heads * head_dim_k] of the last committed token; not for sliding layers
  std::vector<float> pending_q;       // the same for the batch under way
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
};

struct KvCache::Impl {
  Impl(Config c, const OpContext& op_context)
      : config(std::move(c)),
        ctx(op_context),
        host_budget(config.host_limit_bytes),
        hot_budget(config.hot_limit_bytes) {}

  LayerEnv Env(int32_t layer);
  Sequence* Find(SeqId id);
  // With hot bytes for n_tokens, but without tokens.
  Result<std::unique_ptr<Sequence>> NewSequence(const KvOptions& options, int64_t n_tokens);
  SeqId Adopt(std::unique_ptr<Sequence> seq);
  Status CheckForkDepth(const Sequence& parent, int64_t n_tokens) const;
  Status ShareBlocks(Sequence& parent, int64_t n_tokens, Sequence& child);
  Result<SeqId> ForkAt(SeqId parent, const KvOptions& options, int64_t n_tokens);
  Status Drop(SeqId id);
  Status Admit(std::span<const KvBatchItem> items);
  Status Reserve(Sequence& seq, int32_t n_new);
  Status Append(int32_t layer, const MatrixView& k, const MatrixView& v);
  Status Attend(int32_t layer, const MatrixView& q, const MatrixView& out);
  void ReleaseUncommitted(Sequence& seq);
  int64_t TokenBytes(int32_t layer) const { return pools[layer].block_bytes() / kBlockTokens; }
  int64_t HotBytes(const Sequence& seq) const;
  void UpdatePeak(Sequence& seq) const { seq.hot_peak = std::max(seq.hot_peak, HotBytes(seq)); }
  Status HotFull(const Sequence& seq, int64_t n_tokens) const;

  Status AttendPrefill(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendPrefillMoving(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendSteps(int32_t layer, const MatrixView& q, const MatrixView& out);
  Status AttendPagedSteps(int32_t layer);
  Status MergeEvicted(int32_t layer, LayerState& state, const AttentionRows& rows);
  void AddAllRows(int32_t layer, const LayerState& state, int64_t n_tokens, const AttentionRows& rows,
                  PagedView& view) const;

  const Config config;
  const OpContext ctx;
  ByteBudget host_budget, hot_budget;
  std::vector<BlockPool> pools;  // per layer
  std::optional<Mover> mover;    // tiers that move bytes
  KvScratch scratch;
  KvTimings timings;

  std::map<SeqId, std::unique_ptr<Sequence>> sequences;
  int32_t next_id = 0;

  // The batch under way; empty outside Begin..Commit.
  std::vector<BatchRows> batch;
  int64_t n_rows = 0;

  // Attention calls of a step: one view for sequences that read everything, one per shape of page otherwise.
  PagedView view;
  std::vector<PageChoice> choices;
  std::vector<PagedStep> paged_steps;
  std::vector<float> lse, part_out, part_lse;
};

}  // namespace arkvale
