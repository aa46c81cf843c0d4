// LayerPages: the pages of one (sequence, managed layer): their table, digests and hot slots, and the moves that the
// pure rules of select.h and evict.h ask for. KvCache owns one per managed layer; blocks belong to the sequence.
//
// Where RAM is read in place, K and V lie in the blocks and a move changes only the table. In a tier that moves bytes,
// new tokens go to the slot of the filling page, a full page is backed up to its block, and a recall copies it back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "kv/block_list.h"
#include "kv/block_pool.h"
#include "kv/digest_store.h"
#include "kv/evict.h"
#include "kv/mover.h"
#include "kv/page_table.h"
#include "kv/paged_view.h"
#include "kv/select.h"
#include "kv/shape.h"
#include "kv/slot_pool.h"
#include "ops/context.h"
#include "ops/digest.h"

namespace arkvale {

// Scratch of a cache, shared by its layers: contents do not survive a call.
struct KvScratch {
  std::vector<float> head_scores;
  std::vector<float> group_scores;  // [n_groups, n_pages]
  std::vector<DigestScoreItem> score_items;
  std::vector<DigestBuildItem> build_items;
  ResidencyPlan plan;
};

// What a layer needs from its cache; everything outlives it.
struct LayerEnv {
  const OpContext* ctx = nullptr;
  BlockPool* pool = nullptr;
  Device* hot_device = nullptr;  // null: RAM is read in place
  Mover* mover = nullptr;        // null exactly when hot_device is
  ByteBudget* hot_budget = nullptr;
  KvScratch* scratch = nullptr;
  KvTimings* timings = nullptr;
};

// One token's rows of a whole layer; entries that the attention op does not take by pointer are null.
struct AttentionRows {
  const float* q = nullptr;  // [n_q_heads, head_dim_k]
  float* out = nullptr;      // [n_q_heads, head_dim_v]
  float* lse = nullptr;      // [n_q_heads]
};

class LayerPages {
 public:
  // `budget.pages` > 0. ResourceExhausted when the hot slots do not fit.
  static Result<std::unique_ptr<LayerPages>> Make(const LayerEnv& env, const KvLayerShape& shape,
                                                  const KvOptions& options, const PageBudget& budget);
  ~LayerPages();

  // Stores rows for positions position0... and opens, fills, digests and backs up pages.
  Status Append(const BlockList& blocks, int64_t position0, const MatrixView& k, const MatrixView& v);
  // One decode step with more than B pages: score, select, evict, recall. q: [n_q_heads, head_dim_k]. Returns with all
  // recalled pages readable. Unavailable when a copy failed; the table is then consistent, the step must be aborted.
  Status SelectForStep(const BlockList& blocks, const float* q);
  // The end of a prefill: residency is chosen by the last token's query.
  Status SelectAfterPrefill(const BlockList& blocks, const float* q);
  // Back to `n_tokens`, which is not more than was appended: the undo of a batch.
  Status Truncate(const BlockList& blocks, int64_t n_tokens);
  // Makes the pages of `n_tokens` tokens that already lie in `blocks` (a fork); q as above, or null if none was seen.
  Status Adopt(const BlockList& blocks, int64_t n_tokens, const float* q);
  // Writes the filling page to its block and waits for every backup, so that the blocks hold all tokens.
  Status FlushToBlocks(const BlockList& blocks, int64_t n_tokens);

  // What attention reads now, one row per group.
  void AddHotRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const;
  PagedKv Layout() const;
  // Calls `attend` with views of all evicted pages whose first position is < end_position, one row per group; where
  // bytes move they pass through staging slots, a page per group and call.
  Status ForEachEvicted(const BlockList& blocks, int64_t end_position, const AttentionRows& rows,
                        const std::function<Status(PagedView&)>& attend);

  bool over_budget() const { return table_.n_pages() > budget_.pages; }
  AttendKind attend() const { return attend_; }
  int32_t page_tokens() const { return page_tokens_; }
  const PageTable& table() const { return table_; }
  int64_t digest_bytes() const { return digests_.bytes(); }
  int64_t hot_bytes() const;

 private:
  struct Pending {
    int32_t group, page;
    Mover::Copy copy;
  };
  LayerPages(const LayerEnv& env, const KvLayerShape& shape, const KvOptions& options, const PageBudget& budget);

  bool in_place() const { return env_.mover == nullptr; }
  int32_t n_groups() const { return table_.n_groups(); }
  PageAddress SlotAddress(SlotId slot) const;
  PageAddress BlockAddress(const BlockList& blocks, int32_t group, int32_t page) const;

  Status OpenPage(const BlockList& blocks, int32_t group);
  Status FillPage(const BlockList& blocks, int32_t page);
  Status BuildDigests(const BlockList& blocks, int32_t first_page, int32_t end_page);
  void StartBackup(const BlockList& blocks, int32_t group, int32_t page);
  Status FinishBackup(const BlockList& blocks, size_t pending);
  Status FinishBackupOf(const BlockList& blocks, int32_t group, int32_t page);
  void PollBackups();
  Status EvictPage(const BlockList& blocks, int32_t group, int32_t page);
  void StartRecall(const BlockList& blocks, int32_t group, int32_t page);
  Status FinishRecalls();
  void BeginGroupRow(int32_t group, const AttentionRows& rows, PagedView& view) const;
  Status Score(const float* q);
  Status ApplyPlan(const BlockList& blocks, int32_t group);

  const LayerEnv env_;
  const KvLayerShape shape_;
  const PageBudget budget_;
  const int32_t page_tokens_;
  const int32_t group_heads_;
  const CombineKind combine_;
  const AttendKind attend_;
  const WindowExit window_exit_;
  const PageExtent extent_;

  PageTable table_;
  DigestStore digests_;
  SlotPool slots_;                              // empty in place
  std::vector<Pending> backups_, recalls_;      // copies under way
  std::vector<std::vector<int32_t>> selected_;  // per group, sorted: S of the last selection (kSelected only)
  int64_t n_tokens_ = 0;                        // appended
  bool page_opened_ = false;                    // by the last Append
};

}  // namespace arkvale
