// The scoring part of LayerPages: estimates from digests, exact scores of pages, and the audit that compares them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/clock.h"
#include "kv/audit.h"
#include "kv/grow.h"
#include "kv/layer_pages.h"
#include "ops/page_scores.h"

namespace arkvale {

// The mean of the vector digests is linear in the split query: one combined query per kv head does for all its heads.
bool LayerPages::sums_heads() const { return combine_ == CombineKind::kMean && !IsCode(digest_); }

// Whether a page's score is made from more than one row. One row is its own mean and maximum; and the factor between
// the sum over query heads and their mean is common to all pages, so it is left out.
bool LayerPages::combines() const {
  return rows_per_group() > 1 || (combine_ != CombineKind::kMean && combine_ != CombineKind::kMax);
}

// Pages that a group ranks.
int64_t LayerPages::n_ranked(const ChoiceScratch& c) const {
  return c.pages.empty() ? n_scored() : std::ssize(c.pages) / n_groups();
}

// Scores and plans; nothing moves. The plans are left in the scratch.
Status LayerPages::PlanChoices(std::span<const PageChoice> choices, bool step) {
  const LayerEnv& env = choices[0].pages->env_;
  const int64_t start = NowNs();
  KvScratch& s = *env.scratch;
  if (s.choices.size() < choices.size()) s.choices.resize(choices.size());
  for (size_t i = 0; i < choices.size(); ++i) {
    ARKVALE_RETURN_IF_ERROR(choices[i].pages->PrepareChoice(choices[i], step, s.choices[i]));
  }
  ARKVALE_RETURN_IF_ERROR(ScoreChoices(choices, step));
  env.timings->estimate_ns += NowNs() - start;
  return OkStatus();
}

// Every N-th step, and the first one after a prefill or fork. Layers take turns, so that steps cost alike.
bool LayerPages::RanksAll(bool step) const {
  return !step || shortlist_.pages.empty() || n_tokens_ % rank_every_ == env_.layer % rank_every_;
}

// The shortlist, and the candidates that were in the window when it was made.
void LayerPages::ListPages(ChoiceScratch& c) const {
  const std::span<const int32_t> kept = shortlist_.pages;
  const size_t size = kept.size() / n_groups();
  for (int32_t g = 0; g < n_groups(); ++g) {
    const auto of_group = kept.subspan(g * size, size);
    c.pages.insert(c.pages.end(), of_group.begin(), of_group.end());
    for (int32_t page = shortlist_.end; page < budget_.candidates_end(table_.n_pages()); ++page)
      c.pages.push_back(page);
  }
}

// Everything that allocates or needs a loop of its own.
Status LayerPages::PrepareChoice(const PageChoice& choice, bool step, ChoiceScratch& c) {
  const auto resize = [](auto& v, int64_t n) {
    GrowCapacity(v, n);
    v.resize(n);
  };
  const int32_t n_pages = table_.n_pages();
  const int64_t n = n_scored();
  const bool rests = rank_every_ > 1;
  const int32_t shortlist = rests ? ShortlistSize(budget_, n_pages) : 0;
  GrowCapacity(c.pages, rests ? n_groups() * n : 0);
  c.pages.clear();
  if (RanksAll(step)) {
    const bool saves = step && rests && shortlist < budget_.n_candidates(n_pages);
    StartShortlist(saves ? int64_t{n_groups()} * shortlist : 0);
  } else {
    ListPages(c);
  }
  resize(c.head_scores, int64_t{n_groups()} * rows_per_group() * n);
  resize(c.group_scores, combines() ? n_groups() * n : 0);
  MakeRoomForKeys(step, c);
  resize(c.heads_left, n_groups());
  if (std::ssize(c.plans) < n_groups()) c.plans.resize(n_groups());
  for (int32_t g = 0; g < n_groups(); ++g) {
    c.plans[g].Reserve(n_pages, std::max({table_.n_hot(g), budget_.pages, shortlist}), zone_pages_ > 0);
    GrowCapacity(zones_[g], zone_pages_ > 0 ? n_pages : 0);
    if (KeepsSelected()) GrowCapacity(selected_[g], budget_.topk);
  }
  if (combine_ != CombineKind::kSoftmaxPinned) return OkStatus();
  c.pinned_lse.resize(shape_.n_q_heads);
  return ScorePinned(*choice.blocks, choice.q, c.pinned_lse);
}

// A shortlist scores too few pages for a zone.
void LayerPages::MakeRoomForKeys(bool step, ChoiceScratch& c) const {
  c.leaves_keys = step && c.pages.empty() && LeavesKeyScores(budget_, table_.n_pages(), zone_pages_);
  const int64_t n = c.leaves_keys ? KeyScoresBefore(shape_.n_kv_heads) : 0;
  if (n <= std::ssize(c.key_scores)) return;
  GrowCapacity(c.key_scores, n);
  c.key_scores.resize(n);
}

DigestScoreArgs LayerPages::ScoreArgs() const {
  return {.kind = digest_,
          .type = digest_type_,
          .page_tokens = page_tokens_,
          .head_dim = shape_.head_dim_k,
          .n_q_heads = shape_.q_per_kv(),
          .sum_heads = sums_heads(),
          .items = {}};
}

// One call of the op per kind of digest; whoever finishes a group's last head does the rest for that group.
Status LayerPages::ScoreChoices(std::span<const PageChoice> choices, bool step) {
  const auto same = [](const DigestScoreArgs& a, const DigestScoreArgs& b) {
    return a.kind == b.kind && a.type == b.type && a.page_tokens == b.page_tokens && a.sum_heads == b.sum_heads;
  };
  KvScratch& s = *choices[0].pages->env_.scratch;
  const auto finish = [&](int64_t item, int thread) {
    const auto [choice, head] = s.score_owners[item];
    choices[choice].pages->FinishHead(s.choices[choice], head, step, thread);
  };
  const std::function<void(int64_t, int)> item_done = std::ref(finish);
  for (size_t i = 0; i < choices.size(); ++i) {
    DigestScoreArgs args = choices[i].pages->ScoreArgs();
    const auto joins = [&](size_t j) { return same(choices[j].pages->ScoreArgs(), args); };
    bool done = false;
    for (size_t j = 0; j < i; ++j) done |= joins(j);
    if (done) continue;
    s.score_items.clear();
    s.score_owners.clear();
    for (size_t j = i; j < choices.size(); ++j) {
      if (joins(j)) choices[j].pages->AddScoreItems(choices, static_cast<int32_t>(j));
    }
    args.items = s.score_items;
    args.item_done = &item_done;
    ARKVALE_RETURN_IF_ERROR(DigestScore(*choices[i].pages->env_.ctx, args));
  }
  return OkStatus();
}

void LayerPages::AddScoreItems(std::span<const PageChoice> choices, int32_t choice) {
  KvScratch& s = *env_.scratch;
  ChoiceScratch& c = s.choices[choice];
  const int64_t n = n_ranked(c);
  std::fill(c.heads_left.begin(), c.heads_left.end(), group_heads_);
  for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
    DigestScoreItem item = digests_.ScoreItem(head, n_scored());
    item.q = choices[choice].q + int64_t{head} * shape_.q_per_kv() * shape_.head_dim_k;
    item.scores = c.head_scores.data() + int64_t{head} * rows_per_head() * n;
    if (!c.pages.empty()) item.pages = std::span(c.pages).subspan(head / group_heads_ * n, n);
    if (c.leaves_keys) item.key_scores = c.key_scores.data() + KeyScoresBefore(head);
    s.score_items.push_back(item);
    s.score_owners.emplace_back(choice, head);
  }
}

// Runs on any thread of the scoring loop; a group's last head goes on with what its scores are for.
void LayerPages::FinishHead(ChoiceScratch& c, int32_t head, bool step, int thread) {
  const int32_t g = head / group_heads_;
  if (std::atomic_ref(c.heads_left[g]).fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  if (combines()) CombineGroup(c, g, thread);
  PlanGroup(c, g, step);
}

PageRanking LayerPages::Ranking(const ChoiceScratch& c, int32_t group) const {
  const int64_t n = n_ranked(c);
  const auto row = std::span<const float>(combines() ? c.group_scores : c.head_scores).subspan(group * n, n);
  if (c.pages.empty()) return {row};
  return {row, std::span(c.pages).subspan(group * n, n)};
}

void LayerPages::CombineGroup(ChoiceScratch& c, int32_t group, int thread) const {
  const int64_t rows = rows_per_group(), n = n_ranked(c);
  CombineInput in{.kind = combine_,
                  .head_scores = std::span(c.head_scores).subspan(group * rows * n, rows * n),
                  .n_heads = static_cast<int32_t>(rows),
                  .scale = shape_.scale,
                  .softcap = shape_.softcap,
                  .begin = budget_.candidates_begin(),
                  .end = budget_.candidates_end(table_.n_pages())};
  if (!c.pages.empty()) {  // candidates only
    in.begin = 0;
    in.end = static_cast<int32_t>(n);
  }
  if (combine_ == CombineKind::kSoftmaxPinned) in.pinned_lse = std::span(c.pinned_lse).subspan(group * rows, rows);
  auto* weights = static_cast<float*>(env_.ctx->workspace->PerThread(thread, n * sizeof(float)));
  CombineScores(in, std::span(c.group_scores).subspan(group * n, n), {weights, static_cast<size_t>(n)});
}

void LayerPages::PlanGroup(ChoiceScratch& c, int32_t group, bool step) {
  ResidencyPlan& plan = c.plans[group];
  const ResidencyInput in{.budget = budget_,
                          .states = table_.states(group),
                          .ranking = Ranking(c, group),
                          .window_exit = window_exit_,
                          .page_opened = page_opened_};
  if (!step) return PlanAfterPrefill(in, plan);
  if (c.pages.empty() && !shortlist_.pages.empty()) KeepShortlist(c, group);
  if (budget_.evicts) {
    PlanStep(in, plan);
    if (zone_pages_ > 0) PlanZone(in, zone_pages_, plan, zones_[group]);
  } else {
    SelectPages(in.ranking, budget_.candidates_begin(), budget_.candidates_end(table_.n_pages()), budget_.topk,
                plan.selected, &plan.top_k);
  }
  if (!KeepsSelected()) return;
  selected_[group].assign(plan.selected.begin(), plan.selected.end());
  std::sort(selected_[group].begin(), selected_[group].end());
}

void LayerPages::StartShortlist(int64_t n_pages_kept) {
  std::swap(shortlist_, earlier_);
  GrowCapacity(shortlist_.pages, n_pages_kept);
  shortlist_.pages.resize(n_pages_kept);
  shortlist_.end = budget_.candidates_end(table_.n_pages());
  shortlist_.n_tokens = n_tokens_;
}

// The best candidates of a group, for the steps to come.
void LayerPages::KeepShortlist(ChoiceScratch& c, int32_t group) {
  const int32_t begin = budget_.candidates_begin(), end = budget_.candidates_end(table_.n_pages());
  const int64_t size = std::ssize(shortlist_.pages) / n_groups();
  const auto kept = std::span(shortlist_.pages).subspan(group * size, size);
  TopKInOrder(Ranking(c, group).scores.subspan(begin, end - begin), kept, c.plans[group].top_k);
  for (int32_t& page : kept) page += begin;
}

// Logsumexp of every query head over sinks and window, the current token included.
Status LayerPages::ScorePinned(const BlockList& blocks, const float* q, std::span<float> pinned_lse) {
  KvScratch& s = *env_.scratch;
  const int32_t n_pages = table_.n_pages();
  s.pages.clear();
  for (int32_t page = 0; page < budget_.candidates_begin(); ++page) s.pages.push_back(page);
  for (int32_t page = budget_.candidates_end(n_pages); page < n_pages; ++page) s.pages.push_back(page);
  ARKVALE_RETURN_IF_ERROR(ScoreExactly(blocks, q, /*want_max=*/false));
  const size_t n = s.pages.size();
  for (int32_t h = 0; h < shape_.n_q_heads; ++h) {
    const std::span<const float> lse(s.exact_lse.data() + h * n, n);
    const double top = *std::max_element(lse.begin(), lse.end());
    double sum = 0;
    for (const float x : lse) sum += x == top ? 1.0 : std::exp(x - top);
    pinned_lse[h] = static_cast<float>(top + std::log(sum));
  }
  return OkStatus();
}

// True scores of scratch->pages into scratch->exact_lse and, if wanted, exact_max. Evicted pages are read where they
// are, or where bytes move through staging.
Status LayerPages::ScoreExactly(const BlockList& blocks, const float* q, bool want_max) {
  KvScratch& s = *env_.scratch;
  const auto n = static_cast<int64_t>(s.pages.size());
  const int64_t heads = int64_t{group_heads_} * shape_.q_per_kv();
  for (auto* scores : {&s.exact_lse, &s.part_lse}) scores->resize(shape_.n_q_heads * n);
  if (want_max) {
    for (auto* scores : {&s.exact_max, &s.part_max}) scores->resize(shape_.n_q_heads * n);
  }
  const auto begin_row = [&](int32_t group, PagedView& view) {
    const int64_t at = group * heads * n;
    view.BeginRow(in_place() ? group * group_heads_ : 0, q + group * heads * shape_.head_dim_k,
                  want_max ? s.part_max.data() + at : nullptr, s.part_lse.data() + at);
  };
  // The op writes [heads, pages of the row]; here they find their place among all that are wanted.
  const auto score = [&](PagedView& view) -> Status {
    ARKVALE_RETURN_IF_ERROR(PageScores(*env_.ctx, view.ScoreArgs(shape_)));
    for (int32_t g = 0; g < n_groups(); ++g) {
      const auto positions = view.positions(g);
      int64_t to = 0;
      for (size_t i = 0; i < positions.size(); ++i, ++to) {
        while (int64_t{s.pages[to]} * page_tokens_ != positions[i]) ++to;
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t from = g * heads * n + h * static_cast<int64_t>(positions.size()) + static_cast<int64_t>(i);
          s.exact_lse[(g * heads + h) * n + to] = s.part_lse[from];
          if (want_max) s.exact_max[(g * heads + h) * n + to] = s.part_max[from];
        }
      }
    }
    return OkStatus();
  };
  s.view.Reset(Layout());
  for (int32_t g = 0; g < n_groups(); ++g) {
    begin_row(g, s.view);
    int32_t last = 0;
    for (const int32_t page : s.pages) {
      if (!in_place() && !IsHot(table_.state(g, page))) continue;
      s.view.AddPage(ViewId(blocks, g, page), int64_t{page} * page_tokens_);
      last = page;
    }
    s.view.EndRow(LastTokens(last));
  }
  ARKVALE_RETURN_IF_ERROR(score(s.view));
  return in_place() ? OkStatus() : StreamEvicted(blocks, s.pages, begin_row, score);
}

// Compares what the step has chosen with the true ranking of all pages. Reads only.
Status LayerPages::Audit(const BlockList& blocks, const float* q) {
  const int64_t start = NowNs();
  KvScratch& s = *env_.scratch;
  const size_t n = table_.n_pages();
  s.pages.resize(n);
  std::iota(s.pages.begin(), s.pages.end(), 0);
  ARKVALE_RETURN_IF_ERROR(ScoreExactly(blocks, q, /*want_max=*/true));
  s.true_scores.resize(n);
  s.attended.resize(n);
  const size_t heads = static_cast<size_t>(group_heads_) * shape_.q_per_kv();
  KvAudit found;
  for (int32_t g = 0; g < n_groups(); ++g) {
    TrueScores(combine_, {s.exact_max.data() + g * heads * n, heads * n}, static_cast<int32_t>(heads), s.true_scores);
    StepPages(g, s.attended);
    found.Add({.samples = 1,
               .set_recall_sum = SetRecall(s.true_scores, budget_.candidates_begin(),
                                           budget_.candidates_end(static_cast<int32_t>(n)), selected_[g]),
               .mass_recall_sum = MassRecall({s.exact_lse.data() + g * heads * n, heads * n},
                                             static_cast<int32_t>(heads), s.attended)});
  }
  audit_.Add(found);
  env_.timings->audit_ns += NowNs() - start;
  return OkStatus();
}

}  // namespace arkvale
