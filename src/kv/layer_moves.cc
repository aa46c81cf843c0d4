// The second half of LayerPages: scoring, choosing and moving pages, and what attention gets to read.
#include <algorithm>

#include "base/check.h"
#include "base/clock.h"
#include "kv/layer_pages.h"

namespace arkvale {

void LayerPages::StartBackup(const BlockList& blocks, int32_t group, int32_t page) {
  backups_.push_back({group, page,
                      env_.mover->Start(Mover::Direction::kBackup, BlockAddress(blocks, group, page),
                                        SlotAddress(table_.slot(group, page)), extent_)});
  table_.CountMoved(extent_.bytes());
}

// Waits for backups_[index] and removes it. A failed copy is queued once more before the failure is reported; the page
// stays in its slot, so nothing is lost.
Status LayerPages::FinishBackup(const BlockList& blocks, size_t index) {
  const Pending p = backups_[index];
  backups_.erase(backups_.begin() + static_cast<int64_t>(index));
  Status status = env_.mover->Wait(p.copy);
  if (!status.ok()) {
    StartBackup(blocks, p.group, p.page);
    status = env_.mover->Wait(backups_.back().copy);
    if (!status.ok()) return status;
    backups_.pop_back();
  }
  table_.BackupDone(p.group, p.page);
  return OkStatus();
}

Status LayerPages::FinishBackupOf(const BlockList& blocks, int32_t group, int32_t page) {
  for (size_t i = 0; i < backups_.size(); ++i) {
    if (backups_[i].group == group && backups_[i].page == page) return FinishBackup(blocks, i);
  }
  ARKVALE_CHECK(false && "a page that is backing up has a copy under way");
  return OkStatus();
}

void LayerPages::PollBackups() {
  // Only whole successes leave the list here; failures wait for somebody who needs the page and can report them.
  const auto landed = [&](const Pending& p) {
    if (!env_.mover->Done(p.copy) || !env_.mover->Wait(p.copy).ok()) return false;
    table_.BackupDone(p.group, p.page);
    return true;
  };
  backups_.erase(std::remove_if(backups_.begin(), backups_.end(), landed), backups_.end());
}

Status LayerPages::EvictPage(const BlockList& blocks, int32_t group, int32_t page) {
  if (table_.state(group, page) == PageState::kBackingUp) {
    ARKVALE_RETURN_IF_ERROR(FinishBackupOf(blocks, group, page));
  }
  const SlotId slot = table_.Evict(group, page);
  if (slot.valid()) slots_.Release(slot);
  return OkStatus();
}

void LayerPages::StartRecall(const BlockList& blocks, int32_t group, int32_t page) {
  if (in_place()) {
    table_.BeginRecall(group, page, SlotId());
    table_.EndRecall(group, page, true);
    return;
  }
  const SlotId slot = slots_.Acquire();
  ARKVALE_CHECK(slot.valid());
  table_.BeginRecall(group, page, slot);
  recalls_.push_back(
      {group, page,
       env_.mover->Start(Mover::Direction::kRecall, SlotAddress(slot), BlockAddress(blocks, group, page), extent_)});
  table_.CountMoved(extent_.bytes());
}

Status LayerPages::FinishRecalls() {
  Status first_error;
  for (const Pending& p : recalls_) {
    const Status status = env_.mover->Wait(p.copy);
    const SlotId freed = table_.EndRecall(p.group, p.page, status.ok());
    if (freed.valid()) slots_.Release(freed);
    if (!status.ok() && first_error.ok()) first_error = status;
  }
  recalls_.clear();
  return first_error;
}

// Scores pages [0, n_pages - 1) of every group into scratch->group_scores.
Status LayerPages::Score(const float* q) {
  const int64_t start = NowNs();
  const int64_t n = table_.n_pages() - 1;
  const int32_t per_kv = shape_.q_per_kv();
  const bool sum = combine_ == CombineKind::kMean;  // linear in the split query: one combined query per kv head
  KvScratch& s = *env_.scratch;
  const int32_t rows_per_head = sum ? 1 : per_kv;
  s.head_scores.resize(static_cast<size_t>(shape_.n_kv_heads) * rows_per_head * n);
  s.group_scores.resize(static_cast<size_t>(n_groups()) * n);
  s.score_items.clear();
  for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
    s.score_items.push_back({digests_.head(head), n, q + int64_t{head} * per_kv * shape_.head_dim_k,
                             s.head_scores.data() + int64_t{head} * rows_per_head * n});
  }
  ARKVALE_RETURN_IF_ERROR(DigestScore(*env_.ctx, {.kind = digests_.kind(),
                                                  .digest_dtype = digests_.dtype(),
                                                  .head_dim = shape_.head_dim_k,
                                                  .n_q_heads = per_kv,
                                                  .sum_heads = sum,
                                                  .items = s.score_items}));
  const int64_t rows = int64_t{group_heads_} * rows_per_head;
  for (int32_t g = 0; g < n_groups(); ++g) {
    const std::span<float> out(s.group_scores.data() + g * n, n);
    CombineScores(combine_, {s.head_scores.data() + g * rows * n, static_cast<size_t>(rows * n)},
                  static_cast<int32_t>(rows), shape_.scale, out);
    // Head sums became a mean over kv heads; the query heads of each are still a plain sum.
    if (sum && per_kv > 1) {
      for (float& x : out) x /= static_cast<float>(per_kv);
    }
  }
  env_.timings->estimate_ns += NowNs() - start;
  return OkStatus();
}

// Evictions first: they free the slots that recalls take.
Status LayerPages::ApplyPlan(const BlockList& blocks, int32_t group) {
  const ResidencyPlan& plan = env_.scratch->plan;
  for (const int32_t page : plan.evictions) ARKVALE_RETURN_IF_ERROR(EvictPage(blocks, group, page));
  for (const int32_t page : plan.recalls) StartRecall(blocks, group, page);
  return OkStatus();
}

Status LayerPages::SelectForStep(const BlockList& blocks, const float* q) {
  PollBackups();
  ARKVALE_RETURN_IF_ERROR(Score(q));
  const int64_t start = NowNs();
  const size_t n = table_.n_pages() - 1;
  Status status;
  for (int32_t g = 0; g < n_groups() && status.ok(); ++g) {
    ResidencyPlan& plan = env_.scratch->plan;
    PlanStep({.budget = budget_,
              .states = table_.states(g),
              .scores = {env_.scratch->group_scores.data() + g * n, n},
              .window_exit = window_exit_,
              .page_opened = page_opened_},
             plan);
    table_.CountSelection(static_cast<int64_t>(plan.selected.size()));
    if (attend_ == AttendKind::kSelected) {
      selected_[g].assign(plan.selected.begin(), plan.selected.end());
      std::sort(selected_[g].begin(), selected_[g].end());
    }
    status = ApplyPlan(blocks, g);
  }
  const int64_t planned = NowNs();
  env_.timings->select_ns += planned - start;
  const Status recalled = FinishRecalls();
  env_.timings->recall_ns += NowNs() - planned;
  return status.ok() ? recalled : status;
}

Status LayerPages::SelectAfterPrefill(const BlockList& blocks, const float* q) {
  if (!over_budget()) return OkStatus();
  ARKVALE_RETURN_IF_ERROR(Score(q));
  const size_t n = table_.n_pages() - 1;
  Status status;
  for (int32_t g = 0; g < n_groups() && status.ok(); ++g) {
    PlanAfterPrefill(
        {.budget = budget_, .states = table_.states(g), .scores = {env_.scratch->group_scores.data() + g * n, n}},
        env_.scratch->plan);
    status = ApplyPlan(blocks, g);
  }
  const Status recalled = FinishRecalls();
  return status.ok() ? recalled : status;
}

PagedKv LayerPages::Layout() const {
  PagedKv kv;
  kv.dtype = DType::kF16;
  kv.page_tokens = page_tokens_;
  kv.heads_per_row = group_heads_;
  kv.head_dim_k = shape_.head_dim_k;
  kv.head_dim_v = shape_.head_dim_v;
  if (in_place()) {
    kv.k_base = env_.pool->k_base();
    kv.v_base = env_.pool->v_base();
    kv.block_tokens = kBlockTokens;
    kv.heads_per_block = shape_.n_kv_heads;
  } else {
    kv.k_base = slots_.k_base();
    kv.v_base = slots_.v_base();
    kv.block_tokens = page_tokens_;
    kv.heads_per_block = group_heads_;
  }
  return kv;
}

void LayerPages::BeginGroupRow(int32_t group, const AttentionRows& rows, PagedView& view) const {
  const int64_t head = int64_t{group} * group_heads_ * shape_.q_per_kv();
  view.BeginRow(in_place() ? group * group_heads_ : 0, rows.q == nullptr ? nullptr : rows.q + head * shape_.head_dim_k,
                rows.out == nullptr ? nullptr : rows.out + head * shape_.head_dim_v,
                rows.lse == nullptr ? nullptr : rows.lse + head);
}

void LayerPages::AddHotRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const {
  const auto last_tokens = static_cast<int32_t>((n_tokens_ - 1) % page_tokens_) + 1;
  for (int32_t g = 0; g < n_groups(); ++g) {
    BeginGroupRow(g, rows, view);
    const int32_t n_pages = table_.n_pages(g);
    const bool only_selected = attend_ == AttendKind::kSelected && over_budget();
    size_t next = 0;
    const auto& selected = selected_[g];
    for (int32_t page = 0; page < n_pages; ++page) {
      if (!IsHot(table_.state(g, page))) continue;
      if (only_selected && page >= budget_.sinks && page < budget_.candidates_end(n_pages)) {
        while (next < selected.size() && selected[next] < page) ++next;
        if (next == selected.size() || selected[next] != page) continue;
      }
      view.AddPage(in_place() ? blocks.PageId(page, page_tokens_) : table_.slot(g, page).value(),
                   int64_t{page} * page_tokens_);
    }
    view.EndRow(last_tokens);
  }
}

Status LayerPages::ForEachEvicted(const BlockList& blocks, int64_t end_position, const AttentionRows& rows,
                                  const std::function<Status(PagedView&)>& attend) {
  PagedView view;
  const auto end_page =
      static_cast<int32_t>(std::min<int64_t>(table_.n_pages(), (end_position + page_tokens_ - 1) / page_tokens_));
  const auto next_evicted = [&](int32_t g, int32_t page) {
    while (page < end_page && table_.state(g, page) != PageState::kEvicted) ++page;
    return page;
  };
  if (in_place()) {
    view.Reset(Layout());
    for (int32_t g = 0; g < n_groups(); ++g) {
      BeginGroupRow(g, rows, view);
      for (int32_t page = next_evicted(g, 0); page < end_page; page = next_evicted(g, page + 1)) {
        view.AddPage(blocks.PageId(page, page_tokens_), int64_t{page} * page_tokens_);
        table_.CountStreamed(1);
      }
      view.EndRow(page_tokens_);
    }
    return attend(view);
  }
  std::vector<int32_t> at(n_groups());
  std::vector<SlotId> staging(n_groups());
  for (int32_t g = 0; g < n_groups(); ++g) {
    at[g] = next_evicted(g, 0);
    staging[g] = slots_.Acquire();
    ARKVALE_CHECK(staging[g].valid());
  }
  Status status;
  while (status.ok() && std::any_of(at.begin(), at.end(), [&](int32_t page) { return page < end_page; })) {
    view.Reset(Layout());
    std::vector<Mover::Copy> copies;
    for (int32_t g = 0; g < n_groups(); ++g) {
      BeginGroupRow(g, rows, view);
      if (at[g] < end_page) {
        copies.push_back(env_.mover->Start(Mover::Direction::kRecall, SlotAddress(staging[g]),
                                           BlockAddress(blocks, g, at[g]), extent_));
        table_.CountMoved(extent_.bytes());
        table_.CountStreamed(1);
        view.AddPage(staging[g].value(), int64_t{at[g]} * page_tokens_);
        at[g] = next_evicted(g, at[g] + 1);
      }
      view.EndRow(page_tokens_);
    }
    for (const Mover::Copy& copy : copies) {
      const Status waited = env_.mover->Wait(copy);
      if (status.ok()) status = waited;
    }
    if (status.ok()) status = attend(view);
  }
  for (const SlotId slot : staging) slots_.Release(slot);
  return status;
}

}  // namespace arkvale
