#include "kv/evict.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "kv/grow.h"
#include "ops/top_k.h"

namespace arkvale {
namespace {

// Keeps the selected pages and, of the other resident candidates, the best `n_keep`; plans the rest.
void PlanAround(const ResidencyInput& in, int32_t dropped, int32_t n_keep, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const int32_t begin = in.budget.candidates_begin(), end = in.budget.candidates_end(n_pages);
  // Bit per page: it stays, or was dropped, whatever it scores.
  plan.marks.assign(n_pages / 64 + 1, 0);
  const auto mark = [&](int32_t page) { plan.marks[page / 64] |= uint64_t{1} << page % 64; };

  plan.recalls.clear();
  plan.evictions.clear();
  if (dropped >= 0) {
    plan.evictions.push_back(dropped);
    mark(dropped);
  }
  for (const int32_t page : plan.selected) {
    if (!IsHot(in.states[page]) || page == dropped) plan.recalls.push_back(page);
    mark(page);
  }
  // Sinks and window are hot but where a prefill in a tier with few slots pushed them out.
  const auto recall_pinned = [&](int32_t first, int32_t last) {
    for (int32_t page = first; page < last; ++page) {
      if (in.states[page] == PageState::kEvicted) plan.recalls.push_back(page);
    }
  };
  recall_pinned(0, begin);
  recall_pinned(end, n_pages);

  const auto first_left = static_cast<int64_t>(plan.evictions.size());
  ForEachHot(in.states, begin, end, [&](int32_t page) {
    if ((plan.marks[page / 64] >> page % 64 & 1) == 0) plan.evictions.push_back(page);
  });
  const auto left = plan.evictions.begin() + first_left;
  const auto n_left = static_cast<int32_t>(plan.evictions.end() - left);
  if (n_keep <= 0) return;
  if (n_left <= n_keep) {
    plan.evictions.erase(left, plan.evictions.end());
    return;
  }
  std::vector<uint64_t>& keys = plan.top_k.keys;
  keys.resize(n_left);
  std::transform(left, plan.evictions.end(), keys.begin(), [&](int32_t page) { return in.ranking.Key(page); });
  std::nth_element(keys.begin(), keys.begin() + n_keep, keys.end(), std::greater<>());
  std::transform(keys.begin() + n_keep, keys.end(), left, RankedIndex);
  plan.evictions.resize(plan.evictions.size() - n_keep);
  std::sort(plan.evictions.begin() + first_left, plan.evictions.end());
}

}  // namespace

void ResidencyPlan::Reserve(int64_t n_pages, int64_t n_moves, bool with_zone) {
  GrowCapacity(selected, n_moves);
  GrowCapacity(recalls, n_moves);
  GrowCapacity(evictions, n_moves + 1);  // a dropped page may stand there beside itself
  GrowCapacity(top_k.keys, with_zone ? n_pages : n_moves);
  GrowCapacity(marks, n_pages / 64 + 1);
  GrowCapacity(zone_scores, with_zone ? n_pages : 0);
  GrowCapacity(zone_best, with_zone ? n_pages : 0);
}

void PlanStep(const ResidencyInput& in, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const PageBudget& b = in.budget;
  SelectPages(in.ranking, b.candidates_begin(), b.candidates_end(n_pages), b.topk, plan.selected, &plan.top_k);
  int32_t dropped = -1;
  if (in.page_opened && in.window_exit == WindowExit::kDrop) {
    const int32_t left_window = n_pages - 1 - b.window;
    if (left_window >= b.sinks && IsHot(in.states[left_window])) dropped = left_window;
  }
  PlanAround(in, dropped, b.places() - b.topk, plan);
}

bool LeavesKeyScores(const PageBudget& budget, int32_t n_pages, int64_t n_zone) {
  const int64_t zone = std::min<int64_t>(n_zone, n_pages - budget.pages);
  return zone > 0 && zone * kScoredPagesPerZonePage >= n_pages;
}

void PlanZone(const ResidencyInput& in, int64_t n_zone, ResidencyPlan& plan, std::vector<int32_t>& zone) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const int32_t begin = in.budget.candidates_begin(), end = in.budget.candidates_end(n_pages);
  // Bit per page: in R_new.
  plan.marks.assign(n_pages / 64 + 1, 0);
  const auto mark = [&](int32_t page) { plan.marks[page / 64] |= uint64_t{1} << page % 64; };
  ForEachHot(in.states, begin, end, mark);
  for (const int32_t page : plan.evictions) plan.marks[page / 64] &= ~(uint64_t{1} << page % 64);
  for (const int32_t page : plan.recalls) mark(page);

  zone.clear();
  for (int32_t first = begin / 64 * 64; first < end; first += 64) {
    uint64_t left = ~plan.marks[first / 64];
    if (first < begin) left &= ~uint64_t{0} << (begin - first);
    if (end - first < 64) left &= (uint64_t{1} << (end - first)) - 1;
    for (; left != 0; left &= left - 1) zone.push_back(first + std::countr_zero(left));
  }
  if (std::ssize(zone) <= n_zone) return;
  plan.zone_scores.resize(zone.size());
  plan.zone_best.resize(n_zone);
  std::transform(zone.begin(), zone.end(), plan.zone_scores.begin(),
                 [&](int32_t page) { return in.ranking.Score(page); });
  TopKInOrder(plan.zone_scores, plan.zone_best, plan.top_k);
  for (int64_t i = 0; i < n_zone; ++i) zone[i] = zone[plan.zone_best[i]];
  zone.resize(n_zone);
}

void PlanAfterPrefill(const ResidencyInput& in, ResidencyPlan& plan) {
  const auto n_pages = static_cast<int32_t>(in.states.size());
  const PageBudget& b = in.budget;
  SelectPages(in.ranking, b.candidates_begin(), b.candidates_end(n_pages), b.places(), plan.selected, &plan.top_k);
  PlanAround(in, -1, 0, plan);
}

}  // namespace arkvale
