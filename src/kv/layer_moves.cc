// The moving part of LayerPages: choosing and moving pages, and what attention gets to read.
#include <algorithm>
#include <numeric>

#include "base/bad_alloc.h"
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
  for (size_t i = 0; i < backups_.size();) {
    const Pending p = backups_[i];
    if (env_.mover->Done(p.copy) && env_.mover->Wait(p.copy).ok()) {
      table_.BackupDone(p.group, p.page);
      backups_.erase(backups_.begin() + static_cast<int64_t>(i));
    } else {
      ++i;
    }
  }
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
  Mover::Copy copy;
  try {
    copy = env_.mover->Start(Mover::Direction::kRecall, SlotAddress(slot), BlockAddress(blocks, group, page), extent_);
  } catch (const std::bad_alloc&) {
    slots_.Release(slot);
    throw;
  }
  table_.BeginRecall(group, page, slot);
  recalls_.push_back({group, page, copy});
  table_.CountMoved(extent_.bytes());
}

Status LayerPages::FinishRecalls() {
  Status first_error;
  for (const Pending& p : recalls_) {
    Status status = CatchBadAlloc([&] { return env_.mover->Wait(p.copy); });
    const SlotId freed = table_.EndRecall(p.group, p.page, status.ok());
    if (freed.valid()) slots_.Release(freed);
    if (!status.ok() && first_error.ok()) first_error = std::move(status);
  }
  recalls_.clear();
  return first_error;
}

// Evictions first: they free the slots that recalls take.
Status LayerPages::ApplyPlan(const BlockList& blocks, int32_t group, const ResidencyPlan& plan) {
  for (const int32_t page : plan.evictions) ARKVALE_RETURN_IF_ERROR(EvictPage(blocks, group, page));
  for (const int32_t page : plan.recalls) StartRecall(blocks, group, page);
  return OkStatus();
}

// Starts the moves that were planned, group by group, and waits for them.
Status LayerPages::MoveChosen(const PageChoice& choice, const ChoiceScratch& scratch, bool step) {
  const int64_t start = NowNs();
  Status status = CatchBadAlloc([&]() -> Status {
    for (int32_t g = 0; g < n_groups(); ++g) {
      const ResidencyPlan& plan = scratch.plans[g];
      if (step) table_.CountSelection(static_cast<int64_t>(plan.selected.size()));
      if (budget_.evicts) ARKVALE_RETURN_IF_ERROR(ApplyPlan(*choice.blocks, g, plan));
    }
    return OkStatus();
  });
  const int64_t moved = NowNs();
  env_.timings->select_ns += moved - start;
  Status recalled = FinishRecalls();  // also what was started before a failure
  env_.timings->recall_ns += NowNs() - moved;
  return status.ok() ? std::move(recalled) : std::move(status);
}

Status LayerPages::FinishStep(const PageChoice& choice, const ChoiceScratch& scratch) {
  ARKVALE_RETURN_IF_ERROR(MoveChosen(choice, scratch, /*step=*/true));
  ++scored_steps_;
  if (audit_every_ > 0 && scored_steps_ % audit_every_ == 0) return Audit(*choice.blocks, choice.q);
  return OkStatus();
}

Status LayerPages::SelectForSteps(std::span<const PageChoice> choices) {
  for (const PageChoice& c : choices) c.pages->PollBackups();
  ARKVALE_RETURN_IF_ERROR(PlanChoices(choices, /*step=*/true));
  for (size_t i = 0; i < choices.size(); ++i) {
    LayerPages& pages = *choices[i].pages;
    ARKVALE_RETURN_IF_ERROR(pages.FinishStep(choices[i], pages.env_.scratch->choices[i]));
  }
  return OkStatus();
}

Status LayerPages::SelectAfterPrefill(const BlockList& blocks, const float* q) {
  if (!over_budget() || !budget_.evicts) return OkStatus();
  const PageChoice choice{this, &blocks, q};
  ARKVALE_RETURN_IF_ERROR(PlanChoices({&choice, 1}, /*step=*/false));
  return MoveChosen(choice, env_.scratch->choices[0], /*step=*/false);
}

PagedKv LayerPages::Layout() const {
  PagedKv kv;
  kv.dtype = env_.pool->dtype();
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

bool LayerPages::has_zone() const {
  return std::any_of(zones_.begin(), zones_.end(), [](const auto& pages) { return !pages.empty(); });
}

void LayerPages::AddZoneItems(const AttentionRows& part, const ChoiceScratch& scratch,
                              std::vector<ZoneAttentionItem>& items) const {
  for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
    const int64_t first = int64_t{head} * shape_.q_per_kv();
    ZoneAttentionItem& item = items.emplace_back(digests_.ZoneItem(head, zones_[head / group_heads_]));
    item.q = part.q + first * shape_.head_dim_k;
    item.out = part.out + first * shape_.head_dim_v;
    item.lse = part.lse + first;
    if (!scratch.leaves_keys) continue;
    item.n_pages = n_scored();
    item.key_scores = scratch.key_scores.data() + KeyScoresBefore(head);
  }
}

ZoneAttentionArgs LayerPages::ZoneArgs() const {
  return {.digest_type = digest_type_,
          .value_bits = value_bits_,
          .page_tokens = page_tokens_,
          .head_dim_k = shape_.head_dim_k,
          .head_dim_v = shape_.head_dim_v,
          .n_q_heads = shape_.q_per_kv(),
          .scale = shape_.scale,
          .softcap = shape_.softcap,
          .items = {}};
}

int32_t LayerPages::ViewId(const BlockList& blocks, int32_t group, int32_t page) const {
  return in_place() ? blocks.PageId(page, page_tokens_) : table_.slot(group, page).value();
}

// Tokens of a page: all but the last one's are full.
int32_t LayerPages::LastTokens(int32_t page) const {
  return static_cast<int32_t>(std::min<int64_t>(page_tokens_, n_tokens_ - int64_t{page} * page_tokens_));
}

bool LayerPages::ReadsSelectedOnly() const {
  return attend_ == AttendKind::kSelected || (attend_ == AttendKind::kResident && !budget_.evicts);
}

bool LayerPages::KeepsSelected() const { return ReadsSelectedOnly() || audit_every_ > 0; }

template <typename Visit>
void LayerPages::ForEachStepPage(int32_t group, const Visit& visit) const {
  const int32_t n_pages = table_.n_pages(group);
  const std::span<const PageState> states = table_.states(group);
  if (!over_budget() || !ReadsSelectedOnly()) return ForEachHot(states, 0, n_pages, visit);
  const int32_t begin = budget_.candidates_begin(), end = budget_.candidates_end(n_pages);
  ForEachHot(states, 0, begin, visit);
  for (const int32_t page : selected_[group]) {
    if (IsHot(states[page])) visit(page);
  }
  ForEachHot(states, end, n_pages, visit);
}

int64_t LayerPages::step_bytes() const {
  int64_t pages = 0, zone = 0;
  for (int32_t g = 0; g < n_groups(); ++g) {
    if (attend_ == AttendKind::kAll) {
      pages += table_.n_pages(g);
    } else {
      ForEachStepPage(g, [&](int32_t) { ++pages; });
    }
    zone += std::ssize(zones_[g]) * group_heads_;
  }
  return pages * extent_.bytes() + (over_budget() ? digests_.StepBytes(zone) : 0);
}

void LayerPages::StepPages(int32_t group, std::span<uint8_t> attended) const {
  std::fill(attended.begin(), attended.end(), uint8_t{0});
  ForEachStepPage(group, [&](int32_t page) { attended[page] = 1; });
}

void LayerPages::BeginGroupRow(int32_t group, const AttentionRows& rows, PagedView& view) const {
  const int64_t head = int64_t{group} * group_heads_ * shape_.q_per_kv();
  view.BeginRow(in_place() ? group * group_heads_ : 0, rows.q == nullptr ? nullptr : rows.q + head * shape_.head_dim_k,
                rows.out == nullptr ? nullptr : rows.out + head * shape_.head_dim_v,
                rows.lse == nullptr ? nullptr : rows.lse + head);
}

void LayerPages::AddHotRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const {
  for (int32_t g = 0; g < n_groups(); ++g) {
    BeginGroupRow(g, rows, view);
    ForEachHot(table_.states(g), 0, table_.n_pages(g),
               [&](int32_t page) { view.AddPage(ViewId(blocks, g, page), int64_t{page} * page_tokens_); });
    view.EndRow(LastTokens(table_.n_pages(g) - 1));
  }
}

void LayerPages::AddStepRows(const BlockList& blocks, const AttentionRows& rows, PagedView& view) const {
  for (int32_t g = 0; g < n_groups(); ++g) {
    BeginGroupRow(g, rows, view);
    ForEachStepPage(g, [&](int32_t page) { view.AddPage(ViewId(blocks, g, page), int64_t{page} * page_tokens_); });
    view.EndRow(LastTokens(table_.n_pages(g) - 1));
  }
}

Status LayerPages::ForEachEvicted(const BlockList& blocks, int64_t end_position, const AttentionRows& rows,
                                  const std::function<Status(PagedView&)>& attend) {
  const auto end_page =
      static_cast<int32_t>(std::min<int64_t>(table_.n_pages(), (end_position + page_tokens_ - 1) / page_tokens_));
  if (!in_place()) {
    std::vector<int32_t> pages(end_page);
    std::iota(pages.begin(), pages.end(), 0);
    return StreamEvicted(
        blocks, pages, [&](int32_t g, PagedView& view) { BeginGroupRow(g, rows, view); }, attend);
  }
  PagedView view;
  view.Reset(Layout());
  for (int32_t g = 0; g < n_groups(); ++g) {
    BeginGroupRow(g, rows, view);
    for (int32_t page = 0; page < end_page; ++page) {
      if (table_.state(g, page) != PageState::kEvicted) continue;
      view.AddPage(ViewId(blocks, g, page), int64_t{page} * page_tokens_);
      table_.CountStreamed(1);
    }
    view.EndRow(page_tokens_);
  }
  return attend(view);
}

// Takes those of `pages` (ascending) that are evicted through a staging slot per group, one page per group and call.
Status LayerPages::StreamEvicted(const BlockList& blocks, std::span<const int32_t> pages, const BeginRow& begin_row,
                                 const std::function<Status(PagedView&)>& attend) {
  const auto next_evicted = [&](int32_t g, size_t i) {
    while (i < pages.size() && table_.state(g, pages[i]) != PageState::kEvicted) ++i;
    return i;
  };
  PagedView view;
  std::vector<size_t> at(n_groups());
  std::vector<Mover::Copy> copies;
  copies.reserve(n_groups());
  // Whatever happens, no copy may still write to a staging slot when it is given back.
  struct Staging {
    LayerPages* layer;
    std::vector<Mover::Copy>* copies;
    std::vector<SlotId> slots;
    ~Staging() {
      for (const Mover::Copy& copy : *copies) (void)CatchBadAlloc([&] { return layer->env_.mover->Wait(copy); });
      for (const SlotId slot : slots) layer->slots_.Release(slot);
    }
  } staging{this, &copies, {}};
  staging.slots.reserve(n_groups());
  for (int32_t g = 0; g < n_groups(); ++g) {
    at[g] = next_evicted(g, 0);
    staging.slots.push_back(slots_.Acquire());
    ARKVALE_CHECK(staging.slots[g].valid());
  }
  while (std::any_of(at.begin(), at.end(), [&](size_t i) { return i < pages.size(); })) {
    view.Reset(Layout());
    copies.clear();
    for (int32_t g = 0; g < n_groups(); ++g) {
      begin_row(g, view);
      if (at[g] < pages.size()) {
        const int32_t page = pages[at[g]];
        copies.push_back(env_.mover->Start(Mover::Direction::kRecall, SlotAddress(staging.slots[g]),
                                           BlockAddress(blocks, g, page), extent_));
        table_.CountMoved(extent_.bytes());
        table_.CountStreamed(1);
        view.AddPage(staging.slots[g].value(), int64_t{page} * page_tokens_);
        at[g] = next_evicted(g, at[g] + 1);
      }
      view.EndRow(page_tokens_);
    }
    for (const Mover::Copy& copy : copies) ARKVALE_RETURN_IF_ERROR(env_.mover->Wait(copy));
    ARKVALE_RETURN_IF_ERROR(attend(view));
  }
  return OkStatus();
}

}  // namespace arkvale
