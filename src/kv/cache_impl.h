// State behind KvCache, shared by cache.cc (sequences, batches) and cache_attend.cc (attention). Nobody else's header.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "kv/block_list.h"
#include "kv/block_pool.h"
#include "kv/cache.h"
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

struct Sequence {
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

struct KvCache::Impl {
  Impl(Config c, const OpContext& op_context)
      : config(std::move(c)),
        ctx(op_context),
        host_budget(config.host_limit_bytes),
        hot_budget(config.hot_limit_bytes) {}

  LayerEnv Env(int32_t layer);
  Sequence* Find(SeqId id);
  Result<std::unique_ptr<Sequence>> NewSequence(const KvOptions& options);
  void ReleaseBlocks(Sequence& seq);
  Status Reserve(Sequence& seq, int32_t n_new);
  void ReleaseUncommitted(Sequence& seq);
  int64_t HotBytes(const Sequence& seq) const;
  void UpdatePeak(Sequence& seq) const;

  Status AttendPrefill(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendPrefillMoving(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out);
  Status AttendSteps(int32_t layer, const MatrixView& q, const MatrixView& out);
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
  std::vector<float> lse, part_out, part_lse;
};

}  // namespace arkvale
