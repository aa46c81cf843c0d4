// TokenMass: the attention that each token of one (sequence, layer) has had, added up per kv head and cell over the
// queries so far (ops/attention_mass.h). The rows of a batch count once it commits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "ops/attention_mass.h"
#include "ops/context.h"

namespace arkvale {

class TokenMass {
 public:
  explicit TokenMass(int32_t n_heads) : n_heads_(n_heads) {}

  // Room for the sums of `n_cells` cells: Add up to there allocates nothing.
  void Reserve(int64_t n_cells);
  // Adds the rows of the batch under way; after it there are `n_cells` cells. args.mass is set here.
  Status Add(const OpContext& ctx, AttentionMassArgs args, int64_t n_cells);
  void Commit();
  void Abort() { pending_cells_ = -1; }

  // Sums of a kv head by cell, the batch under way included.
  std::span<const float> sums(int32_t head) const;
  // Queries that were added.
  int64_t n_rows() const { return pending_cells_ >= 0 ? pending_rows_ : n_rows_; }

  // What becomes of committed sums when cells move; neither allocates.
  void Move(int32_t head, int64_t from, int64_t to);
  void Truncate(int64_t n_cells) { n_cells_ = std::min(n_cells_, n_cells); }
  // Takes the committed sums of `other`, which has as many heads.
  void CopyFrom(const TokenMass& other);
  int64_t bytes() const { return n_heads_ * n_cells_ * static_cast<int64_t>(sizeof(float)); }

 private:
  const int32_t n_heads_;
  int64_t stride_ = 0;  // of both buffers
  int64_t n_cells_ = 0;
  int64_t n_rows_ = 0;
  std::vector<float> sums_, pending_;  // [n_heads, stride]
  int64_t pending_cells_ = -1;         // -1: nothing was added in this batch
  int64_t pending_rows_ = 0;
};

}  // namespace arkvale
