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
#include <utility>
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

// What the choice of one (sequence, layer) is made with; n = its pages but the last one. Contents last until the next
// choice.
struct ChoiceScratch {
  std::vector<float> head_scores;    // [n_kv_heads, rows per head, n or n_listed]
  std::vector<int32_t> pages;        // [n_groups, n_listed] ascending: what this step ranks; empty: all
  std::vector<float> group_scores;   // [n_groups, n], or n_listed; not where one row of head_scores says it all
  std::vector<float> pinned_lse;     // [n_q_heads]
  std::vector<float> key_scores;     // [n_q_heads, n, page_tokens] for the zone; never shrinks
  bool leaves_keys = false;          // whether this choice writes key_scores
  std::vector<int32_t> heads_left;   // [n_groups] kv heads whose estimates are still to come; atomic
  std::vector<ResidencyPlan> plans;  // [n_groups]
};

// Scratch of a cache, shared by its layers: contents do not survive a call, but for the choices.
struct KvScratch {
  std::vector<ChoiceScratch> choices;  // of the sequences that choose together
  std::vector<DigestScoreItem> score_items;
  std::vector<std::pair<int32_t, int32_t>> score_owners;  // of the items: choice, kv head
  std::vector<DigestBuildItem> build_items;
  std::vector<ValueCodeItem> value_items;

  // Exact scores of `pages` (ascending): [n_q_heads, pages].
  std::vector<int32_t> pages;
  std::vector<float> exact_max, exact_lse, part_max, part_lse;
  std::vector<float> true_scores;
  std::vector<uint8_t> attended;
  PagedView view;
};

// What a layer needs from its cache; everything outlives it.
struct LayerEnv {
  int32_t layer = 0;
  const OpContext* ctx = nullptr;
  BlockPool* pool = nullptr;
  Device* hot_device = nullptr;  // null: RAM is read in place
  Mover* mover = nullptr;        // null exactly when hot_device is
  KvScratch* scratch = nullptr;
  KvTimings* timings = nullptr;
};

// One token's rows of a whole layer; entries that the attention op does not take by pointer are null.
struct AttentionRows {
  const float* q = nullptr;  // [n_q_heads, head_dim_k]
  float* out = nullptr;      // [n_q_heads, head_dim_v]
  float* lse = nullptr;      // [n_q_heads]
};

class LayerPages;

// One sequence's part in a choice of pages that the sequences of a batch make together.
struct PageChoice {
  LayerPages* pages = nullptr;
  const BlockList* blocks = nullptr;
  const float* q = nullptr;  // [n_q_heads, head_dim_k]
};

class LayerPages {
 public:
  // `budget.pages` > 0. ResourceExhausted when the hot device has no memory for the slots; the limit on hot bytes is
  // the caller's business. Every call may throw std::bad_alloc, and is then undone like a failure.
  static Result<std::unique_ptr<LayerPages>> Make(const LayerEnv& env, const KvLayerShape& shape,
                                                  const KvOptions& options, const PageBudget& budget);
  ~LayerPages();

  // Memory for the tables and digests of n_tokens tokens: Append up to there and Truncate allocate nothing that they
  // keep.
  void Reserve(int64_t n_tokens);
  // Stores rows for positions position0... and opens, fills, digests and backs up pages. Truncate undoes a failure.
  Status Append(const BlockList& blocks, int64_t position0, const MatrixView& k, const MatrixView& v);
  // One decode step of sequences with more than B pages each, all of one layer: score, select, evict, recall.
  // Estimates, selections and plans share one parallel loop (per kind of digest); what moves, moves sequence after
  // sequence. Returns with all recalled pages readable. Unavailable when a copy failed,
  // ResourceExhausted when memory did; the tables are then consistent, the step must be aborted.
  static Status SelectForSteps(std::span<const PageChoice> choices);
  // The end of a prefill: residency is chosen by the last token's query. Errors as above.
  Status SelectAfterPrefill(const BlockList& blocks, const float* q);
  // Back to `n_tokens`, which is not more than was appended: the undo of a batch. Where RAM is read in place it neither
  // fails nor allocates.
  Status Truncate(const BlockList& blocks, int64_t n_tokens);
  // Makes the pages of `n_tokens` tokens that already lie in `blocks` (a fork); q as above, or null if none is known:
  // then sinks and the newest pages are resident, as a prefill leaves them where there are few slots.
  Status Adopt(const BlockList& blocks, int64_t n_tokens, const float* q);
  // Writes the filling page to its block and waits for every backup, so that the blocks hold all tokens.
  Status FlushToBlocks(const BlockList& blocks, int64_t n_tokens);

  // Rows of every hot page, one row per group.
  void AddHotRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const;
  // Rows of what a step attends to: every hot page, or the pinned and selected ones only.
  void AddStepRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const;
  PagedKv Layout() const;
  // Whether the last step estimates pages.
  bool has_zone() const;
  // Its zone, an item per kv head; `part` gets its partial result. `scratch`: of that step's choice, still as it left
  // it.
  void AddZoneItems(const AttentionRows& part, const ChoiceScratch& scratch,
                    std::vector<ZoneAttentionItem>& items) const;
  // What the items of this layer's sequences have in common where two calls give equal args.
  ZoneAttentionArgs ZoneArgs() const;
  // Calls `attend` with views of all evicted pages whose first position is < end_position, one row per group; where
  // bytes move they pass through staging slots, a page per group and call.
  Status ForEachEvicted(const BlockList& blocks, int64_t end_position, const AttentionRows& rows,
                        const std::function<Status(PagedView&)>& attend);

  bool over_budget() const { return table_.n_pages() > budget_.pages; }
  AttendKind attend() const { return attend_; }
  int32_t page_tokens() const { return page_tokens_; }
  const PageTable& table() const { return table_; }
  const KvAudit& audit() const { return audit_; }
  int64_t digest_bytes() const { return digests_.bytes(); }
  int64_t hot_bytes() const;
  // What the last step read, or one now would: its pages, every digest if it ranks, value codes of its zone.
  int64_t step_bytes() const;

 private:
  struct Pending {
    int32_t group, page;
    Mover::Copy copy;
  };
  // The best candidates of a ranking of all pages, for the steps that rank only these (rank-every).
  struct Shortlist {
    std::vector<int32_t> pages;  // [n_groups, any], ascending in a group; empty: the next step ranks all
    int32_t end = 0;             // of the candidates then
    int64_t n_tokens = 0;        // then, the new one included
  };
  using BeginRow = std::function<void(int32_t group, PagedView&)>;

  LayerPages(const LayerEnv& env, const KvLayerShape& shape, const KvOptions& options, const PageBudget& budget,
             const DigestLayout& layout, const ValueCodeLayout& values);

  bool in_place() const { return env_.mover == nullptr; }
  int32_t n_groups() const { return table_.n_groups(); }
  PageAddress SlotAddress(SlotId slot) const;
  PageAddress BlockAddress(const BlockList& blocks, int32_t group, int32_t page) const;

  Status OpenPage(const BlockList& blocks, int32_t group);
  Status FillPage(const BlockList& blocks, int32_t page);
  Status BuildDigests(const BlockList& blocks, int32_t first_page, int32_t end_page);
  PageAddress FullPage(const BlockList& blocks, int32_t group, int32_t page) const;
  Status AdoptByPageOrder(const BlockList& blocks);

  // layer_moves.cc
  void StartBackup(const BlockList& blocks, int32_t group, int32_t page);
  Status FinishBackup(const BlockList& blocks, size_t pending);
  Status FinishBackupOf(const BlockList& blocks, int32_t group, int32_t page);
  void PollBackups();
  Status EvictPage(const BlockList& blocks, int32_t group, int32_t page);
  void StartRecall(const BlockList& blocks, int32_t group, int32_t page);
  Status FinishRecalls();
  Status ApplyPlan(const BlockList& blocks, int32_t group, const ResidencyPlan& plan);
  Status MoveChosen(const PageChoice& choice, const ChoiceScratch& scratch, bool step);
  Status FinishStep(const PageChoice& choice, const ChoiceScratch& scratch);
  int32_t LastTokens(int32_t page) const;
  bool ReadsSelectedOnly() const;
  bool KeepsSelected() const;  // whether anybody asks for S after the choice
  template <typename Visit>
  void ForEachStepPage(int32_t group, const Visit& visit) const;
  void StepPages(int32_t group, std::span<uint8_t> attended) const;  // 1 where a step reads the page
  int32_t ViewId(const BlockList& blocks, int32_t group, int32_t page) const;
  void BeginGroupRow(int32_t group, const AttentionRows& rows, PagedView& view) const;
  Status StreamEvicted(const BlockList& blocks, std::span<const int32_t> pages, const BeginRow& begin_row,
                       const std::function<Status(PagedView&)>& attend);

  // layer_scores.cc
  static Status PlanChoices(std::span<const PageChoice> choices, bool step);
  static Status ScoreChoices(std::span<const PageChoice> choices, bool step);
  Status PrepareChoice(const PageChoice& choice, bool step, ChoiceScratch& scratch);
  bool RanksAll(bool step) const;
  void ListPages(ChoiceScratch& scratch) const;
  void MakeRoomForKeys(bool step, ChoiceScratch& scratch) const;
  DigestScoreArgs ScoreArgs() const;
  void AddScoreItems(std::span<const PageChoice> choices, int32_t choice);
  void FinishHead(ChoiceScratch& scratch, int32_t head, bool step, int thread);
  PageRanking Ranking(const ChoiceScratch& scratch, int32_t group) const;
  void CombineGroup(ChoiceScratch& scratch, int32_t group, int thread) const;
  void PlanGroup(ChoiceScratch& scratch, int32_t group, bool step);
  void StartShortlist(int64_t n_pages_kept);
  void KeepShortlist(ChoiceScratch& scratch, int32_t group);
  Status ScorePinned(const BlockList& blocks, const float* q, std::span<float> pinned_lse);
  Status ScoreExactly(const BlockList& blocks, const float* q, bool want_max);
  Status Audit(const BlockList& blocks, const float* q);
  bool sums_heads() const;
  int32_t rows_per_head() const { return sums_heads() ? 1 : shape_.q_per_kv(); }
  int32_t rows_per_group() const { return group_heads_ * rows_per_head(); }
  bool combines() const;
  int64_t n_ranked(const ChoiceScratch& scratch) const;
  // Of ChoiceScratch::key_scores: those of the kv heads before `head`.
  int64_t KeyScoresBefore(int32_t head) const { return int64_t{head} * shape_.q_per_kv() * n_scored() * page_tokens_; }
  // Pages that are scored: all but the last one.
  int64_t n_scored() const { return table_.n_pages() - 1; }

  const LayerEnv env_;
  const KvLayerShape shape_;
  const PageBudget budget_;
  const int32_t page_tokens_;
  const int32_t group_heads_;
  const DigestKind digest_;
  const DigestType digest_type_;
  const CombineKind combine_;
  const AttendKind attend_;
  const WindowExit window_exit_;
  const int32_t rank_every_;
  const int32_t audit_every_;
  const int64_t zone_pages_;  // that a step estimates at most
  const int32_t value_bits_;
  const PageExtent extent_;

  PageTable table_;
  DigestStore digests_;
  SlotPool slots_;                              // empty in place
  std::vector<Pending> backups_, recalls_;      // copies under way; never more than there are slots
  std::vector<std::vector<int32_t>> selected_;  // per group, sorted: S of the last selection, where somebody reads it
  std::vector<std::vector<int32_t>> zones_;     // per group, ascending: the zone of the last selection
  Shortlist shortlist_, earlier_;               // Truncate goes back to the earlier one
  KvAudit audit_;
  int64_t scored_steps_ = 0;
  int64_t n_tokens_ = 0;      // appended
  bool page_opened_ = false;  // by the last Append
};

}  // namespace arkvale
