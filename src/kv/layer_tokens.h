// LayerTokens: the tokens that one (sequence, layer) still holds under a policy that drops single tokens for good
// (token_rules.h decides which).
//
// Storage is the layer's block list, read as *cells*: cell i of every kv head is a place for one token. Until the first
// drop cell i holds position i; later each kv head has its own position per cell. All kv heads use cells [0, n_cells).
// Keys carry their positions, so attention may read cells in any order: it reads them as a dense layer reads positions.
//
// In a batch, new tokens go to the cells after n_cells, attention reads them all, the rule decides, and Commit moves
// the rows that stay to the front: in a step the newest token takes the place of the one that drops. Abort forgets it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "kv/block_list.h"
#include "kv/block_pool.h"
#include "kv/query_ring.h"
#include "kv/shape.h"
#include "kv/token_mass.h"
#include "kv/token_rules.h"
#include "ops/context.h"
#include "ops/paged_kv.h"

namespace arkvale {

// Scratch of a cache, shared by its layers: contents do not survive a call.
struct TokenScratch {
  std::vector<float> mass;     // [n_kv_heads, cells]
  std::vector<float> scores;   // [cells], or [n_kv_heads, cells before the window]
  std::vector<float> queries;  // [window, n_q_heads * head_dim_k]
  std::vector<uint64_t> keys;
};

// What a batch did in one layer for one sequence.
struct TokenPass {
  const OpContext* ctx = nullptr;
  TokenScratch* scratch = nullptr;
  const KvLayerShape* shape = nullptr;
  PagedKv kv;                  // one row: every cell, those of the batch included
  MatrixView q;                // its queries; for a fork the last one
  const float* lse = nullptr;  // [q.rows, n_q_heads] of them over the cells; null in a fork where the rule reads none
};

// Adds the pass's queries, the newest of n_cells cells, to `sums`.
Status AddAttention(const TokenPass& pass, int64_t n_cells, TokenMass& sums);

class LayerTokens {
 public:
  LayerTokens(const TokenRule& rule, int32_t n_kv_heads);

  const TokenRule& rule() const { return rule_; }
  int64_t n_cells() const { return n_cells_; }          // committed
  int64_t n_held() const { return n_cells_ + n_new_; }  // with those of the batch under way
  bool holds_all() const { return n_cells_ == n_tokens_; }
  int64_t dropped_tokens() const { return (n_tokens_ - n_cells_) * n_kv_heads_; }  // over kv heads
  int64_t score_bytes() const { return sums_ ? sums_->bytes() : 0; }
  // Attention that the tokens have had, where the rule adds it up; else null.
  const TokenMass* sums() const { return sums_ ? &*sums_ : nullptr; }

  // Opens a batch of `n_new` tokens: memory for them.
  void Begin(int64_t n_new);
  // Commit of the batch under way, a step or the end of a prefill, may write to cells [0, the result): their blocks
  // must be the sequence's own by then.
  int64_t CellsOverwritten(bool is_step) const;
  // After the attention of a prefill's chunk, whose last queries are `queries`' newest; and of a step.
  Status AfterPrefill(const TokenPass& pass, bool ends_prefill, const QueryRing& queries);
  Status AfterStep(const TokenPass& pass);
  // Moves what stays to the front of its blocks. The caller then gives back the blocks behind n_cells.
  void Commit(const BlockList& list, const BlockPool& pool);
  void Abort();

  // For a fork. Holds the first n_tokens tokens of the blocks, as in the middle of a prefill; `sums` of all of them, or
  // null. Open until Commit.
  void Adopt(int64_t n_tokens, const TokenMass* sums);
  // A fork with the same rule: everything as `other` has it.
  void CopyFrom(const LayerTokens& other);

 private:
  int32_t n_lists() const { return rule_.heads_alike() ? 1 : n_kv_heads_; }
  int64_t KeptAfterPrefill() const;
  Status WeighByLastRow(const TokenPass& pass);
  Status ScoreWindow(const TokenPass& pass, const QueryRing& queries);
  std::span<const float> Scores(const TokenScratch& scratch, int32_t list) const;
  void Decide(int64_t keep, bool is_step, TokenScratch& scratch);
  void MoveRow(const BlockList& list, const BlockPool& pool, int32_t kv_head, int64_t from, int64_t to) const;
  void MoveCell(const BlockList& list, const BlockPool& pool, int32_t index, int64_t from, int64_t to);

  const TokenRule rule_;
  const int32_t n_kv_heads_;

  int64_t n_tokens_ = 0;  // committed tokens of the sequence
  int64_t n_cells_ = 0;
  bool has_chosen_ = false;  // a prefill has ended
  int64_t stride_ = 0;
  std::vector<int32_t> positions_;  // [n_lists, stride]
  std::optional<TokenMass> sums_;   // where the rule adds scores

  // The batch under way.
  int64_t n_new_ = 0;
  bool chooses_ = false;       // a prefill ends
  int64_t keep_ = -1;          // cells that stay; -1: all
  std::vector<int32_t> kept_;  // [n_lists, keep] ascending cells, or in a step [n_lists]: the cell that drops
  bool replaces_ = false;      // the latter
};

}  // namespace arkvale
