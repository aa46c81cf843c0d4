#include "kv/layer_tokens.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "kv/grow.h"
#include "ops/window_scores.h"

namespace arkvale {

Status AddAttention(const TokenPass& pass, int64_t n_cells, TokenMass& sums) {
  return sums.Add(*pass.ctx,
                  {.kv = pass.kv,
                   .q_heads_per_kv_head = pass.shape->q_per_kv(),
                   .scale = pass.shape->scale,
                   .softcap = pass.shape->softcap,
                   .q_position0 = n_cells - pass.q.rows,
                   .q = pass.q,
                   .lse = pass.lse},
                  n_cells);
}

LayerTokens::LayerTokens(const TokenRule& rule, int32_t n_kv_heads) : rule_(rule), n_kv_heads_(n_kv_heads) {
  if (rule.adds_scores()) sums_.emplace(n_kv_heads);
}

int64_t LayerTokens::KeptAfterPrefill() const {
  return rule_.chooses_once() && has_chosen_ ? n_held() : rule_.KeptAfterPrefill(n_held());
}

int64_t LayerTokens::CellsOverwritten(bool is_step) const {
  const int64_t keep = is_step ? rule_.KeptAfterStep(n_held()) : KeptAfterPrefill();
  return keep < n_held() ? keep : 0;
}

void LayerTokens::Begin(int64_t n_new) {
  const int64_t held = n_cells_ + n_new;
  const int64_t stride = GrownStride(stride_, held);
  if (stride != stride_) {
    std::vector<int32_t> positions(n_lists() * stride);
    for (int32_t i = 0; i < n_lists(); ++i) {
      std::copy_n(positions_.begin() + i * stride_, n_cells_, positions.begin() + i * stride);
    }
    positions_ = std::move(positions);
    stride_ = stride;
  }
  if (sums_) sums_->Reserve(held);
  for (int32_t i = 0; i < n_lists(); ++i) {
    const auto first = positions_.begin() + i * stride_ + n_cells_;
    std::iota(first, first + n_new, static_cast<int32_t>(n_tokens_));
  }
  n_new_ = n_new;
  chooses_ = false;
  keep_ = -1;
}

// scratch.scores: what the last query gives each cell, summed over kv heads. Their mean would rank alike.
Status LayerTokens::WeighByLastRow(const TokenPass& pass) {
  TokenScratch& s = *pass.scratch;
  const int64_t n = n_held();
  s.mass.assign(n_kv_heads_ * n, 0.0f);
  ARKVALE_RETURN_IF_ERROR(AttentionMass(*pass.ctx, {.kv = pass.kv,
                                                    .q_heads_per_kv_head = pass.shape->q_per_kv(),
                                                    .scale = pass.shape->scale,
                                                    .softcap = pass.shape->softcap,
                                                    .q_position0 = n - 1,
                                                    .q = pass.q,
                                                    .lse = pass.lse,
                                                    .mass = s.mass.data(),
                                                    .mass_stride = n}));
  s.scores.assign(s.mass.begin(), s.mass.begin() + n);
  for (int32_t h = 1; h < n_kv_heads_; ++h) {
    for (int64_t i = 0; i < n; ++i) s.scores[i] += s.mass[h * n + i];
  }
  return OkStatus();
}

Status LayerTokens::ScoreWindow(const TokenPass& pass, const QueryRing& queries) {
  TokenScratch& s = *pass.scratch;
  queries.Gather(rule_.window, s.queries);
  s.scores.resize(n_kv_heads_ * (n_held() - rule_.window));
  return WindowScores(*pass.ctx, {.kv = pass.kv,
                                  .q_heads_per_kv_head = pass.shape->q_per_kv(),
                                  .scale = pass.shape->scale,
                                  .softcap = pass.shape->softcap,
                                  .n_tokens = n_held(),
                                  .q = {s.queries.data(), rule_.window, pass.q.cols, pass.q.cols},
                                  .kernel = rule_.kernel,
                                  .pooling = rule_.pooling == SnapPooling::kMax ? Pooling::kMax : Pooling::kAverage,
                                  .scores = s.scores.data()});
}

std::span<const float> LayerTokens::Scores(const TokenScratch& scratch, int32_t list) const {
  switch (rule_.policy) {
    case KvPolicyKind::kH2o: return sums_->sums(list);
    case KvPolicyKind::kTova: return scratch.scores;
    case KvPolicyKind::kSnapkv:
    case KvPolicyKind::kPyramidkv:
    case KvPolicyKind::kXkv: {
      const int64_t n = n_held() - rule_.window;
      return {scratch.scores.data() + list * n, static_cast<size_t>(n)};
    }
    default: return {};
  }
}

void LayerTokens::Decide(int64_t keep, bool is_step, TokenScratch& scratch) {
  replaces_ = is_step && keep + 1 == n_held();
  kept_.resize(n_lists() * (replaces_ ? 1 : keep));
  for (int32_t i = 0; i < n_lists(); ++i) {
    const HeldTokens held{.positions = {positions_.data() + i * stride_, static_cast<size_t>(n_held())},
                          .scores = Scores(scratch, i),
                          .n_tokens = n_tokens_ + n_new_};
    if (replaces_) {
      kept_[i] = DroppedCell(rule_, held);
    } else {
      KeepTokens(rule_, held, keep, scratch.keys, std::span(kept_).subspan(i * keep, keep));
    }
  }
  keep_ = keep;
}

Status LayerTokens::AfterPrefill(const TokenPass& pass, bool ends_prefill, const QueryRing& queries) {
  if (rule_.adds_all_rows() && pass.lse != nullptr) ARKVALE_RETURN_IF_ERROR(AddAttention(pass, n_held(), *sums_));
  if (!ends_prefill) return OkStatus();
  chooses_ = true;
  TokenPass last = pass;
  if (pass.q.rows > 1) {
    last.q = {pass.q.row(pass.q.rows - 1), 1, pass.q.cols, pass.q.stride};
    last.lse = pass.lse + (pass.q.rows - 1) * pass.shape->n_q_heads;
  }
  if (rule_.adds_scores() && !rule_.adds_all_rows()) ARKVALE_RETURN_IF_ERROR(AddAttention(last, n_held(), *sums_));
  const int64_t keep = KeptAfterPrefill();
  if (keep == n_held()) return OkStatus();
  if (rule_.policy == KvPolicyKind::kTova) ARKVALE_RETURN_IF_ERROR(WeighByLastRow(last));
  if (rule_.scores_window()) ARKVALE_RETURN_IF_ERROR(ScoreWindow(pass, queries));
  Decide(keep, /*is_step=*/false, *pass.scratch);
  return OkStatus();
}

Status LayerTokens::AfterStep(const TokenPass& pass) {
  if (rule_.adds_scores()) ARKVALE_RETURN_IF_ERROR(AddAttention(pass, n_held(), *sums_));
  const int64_t keep = rule_.KeptAfterStep(n_held());
  if (keep == n_held()) return OkStatus();
  if (rule_.policy == KvPolicyKind::kTova) ARKVALE_RETURN_IF_ERROR(WeighByLastRow(pass));
  Decide(keep, /*is_step=*/true, *pass.scratch);
  return OkStatus();
}

void LayerTokens::MoveRow(const BlockList& list, const BlockPool& pool, int32_t kv_head, int64_t from,
                          int64_t to) const {
  const auto at = [&](int64_t cell) { return kv_head * kBlockTokens + cell % kBlockTokens; };
  std::memcpy(pool.k(list.at(to)) + at(to) * pool.k_row_bytes(), pool.k(list.at(from)) + at(from) * pool.k_row_bytes(),
              pool.k_row_bytes());
  std::memcpy(pool.v(list.at(to)) + at(to) * pool.v_row_bytes(), pool.v(list.at(from)) + at(from) * pool.v_row_bytes(),
              pool.v_row_bytes());
}

// `index`: of a list of positions, which stands for one kv head or for all.
void LayerTokens::MoveCell(const BlockList& list, const BlockPool& pool, int32_t index, int64_t from, int64_t to) {
  if (from == to) return;
  positions_[index * stride_ + to] = positions_[index * stride_ + from];
  const int32_t first = rule_.heads_alike() ? 0 : index, end = rule_.heads_alike() ? n_kv_heads_ : index + 1;
  for (int32_t head = first; head < end; ++head) {
    MoveRow(list, pool, head, from, to);
    if (sums_) sums_->Move(head, from, to);
  }
}

void LayerTokens::Commit(const BlockList& list, const BlockPool& pool) {
  if (sums_) sums_->Commit();
  const int64_t held = n_held();
  if (keep_ >= 0) {
    for (int32_t i = 0; i < n_lists(); ++i) {
      if (replaces_) {
        MoveCell(list, pool, i, held - 1, kept_[i]);
      } else {
        // Cells only move to smaller ones, the smaller first: no row is overwritten before it has moved.
        for (int64_t to = 0; to < keep_; ++to) MoveCell(list, pool, i, kept_[i * keep_ + to], to);
      }
    }
  }
  n_cells_ = keep_ >= 0 ? keep_ : held;
  if (sums_) sums_->Truncate(n_cells_);
  n_tokens_ += n_new_;
  has_chosen_ |= chooses_;
  Abort();
}

void LayerTokens::Abort() {
  if (sums_) sums_->Abort();
  n_new_ = 0;
  chooses_ = false;
  keep_ = -1;
}

void LayerTokens::Adopt(int64_t n_tokens, const TokenMass* sums) {
  ARKVALE_CHECK(n_tokens_ == 0);
  if (sums_ && sums != nullptr) sums_->CopyFrom(*sums);
  Begin(n_tokens);
}

void LayerTokens::CopyFrom(const LayerTokens& other) {
  Begin(other.n_cells_);
  for (int32_t i = 0; i < n_lists(); ++i) {
    std::copy_n(other.positions_.begin() + i * other.stride_, other.n_cells_, positions_.begin() + i * stride_);
  }
  if (sums_) sums_->CopyFrom(*other.sums_);
  n_new_ = 0;
  n_cells_ = other.n_cells_;
  n_tokens_ = other.n_tokens_;
  has_chosen_ = other.has_chosen_;
}

}  // namespace arkvale
