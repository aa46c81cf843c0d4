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

// One pass over the digests of the sequences that choose together; with two stages the second one reads only what is on
// the shortlists.
struct LayerPages::Stage {
  std::span<const PageChoice> choices;
  KvScratch* scratch;
  bool step;
  bool second;

  bool Has(size_t i) const { return !second || scratch->choices[i].two_stage; }
  DigestScoreArgs Args(size_t i) const {
    return choices[i].pages->ScoreArgs(/*both_planes=*/second || !scratch->choices[i].two_stage);
  }
};

// Scores and plans; nothing moves. The plans are left in the scratch.
Status LayerPages::PlanChoices(std::span<const PageChoice> choices, bool step) {
  const LayerEnv& env = choices[0].pages->env_;
  const int64_t start = NowNs();
  KvScratch& s = *env.scratch;
  if (s.choices.size() < choices.size()) s.choices.resize(choices.size());
  bool any_second = false;
  for (size_t i = 0; i < choices.size(); ++i) {
    ARKVALE_RETURN_IF_ERROR(choices[i].pages->PrepareChoice(choices[i], s.choices[i]));
    any_second |= s.choices[i].two_stage;
  }
  ARKVALE_RETURN_IF_ERROR(ScoreChoices({choices, &s, step, /*second=*/false}));
  if (any_second) ARKVALE_RETURN_IF_ERROR(ScoreChoices({choices, &s, step, /*second=*/true}));
  env.timings->estimate_ns += NowNs() - start;
  return OkStatus();
}

// Everything that allocates or needs a loop of its own.
Status LayerPages::PrepareChoice(const PageChoice& choice, ChoiceScratch& c) {
  const auto resize = [](auto& v, int64_t n) {
    GrowCapacity(v, n);
    v.resize(n);
  };
  const int32_t n_pages = table_.n_pages(), shortlist_size = ShortlistSize(budget_, n_pages);
  const int64_t n = n_scored();
  c.two_stage = code_scan_ == CodeScan::kTwoStage && digest_ == DigestKind::kCode2 &&
                shortlist_size < budget_.n_candidates(n_pages);
  resize(c.head_scores, int64_t{n_groups()} * rows_per_group() * n);
  resize(c.group_scores, combines() ? n_groups() * n : 0);
  resize(c.second_scores, c.two_stage ? n_groups() * n : 0);
  resize(c.shortlist_pages, c.two_stage ? int64_t{n_groups()} * shortlist_size : 0);
  c.shortlist.clear();
  resize(c.shortlist, c.two_stage ? n_groups() * n : 0);
  resize(c.heads_left, n_groups());
  if (std::ssize(c.plans) < n_groups()) c.plans.resize(n_groups());
  for (int32_t g = 0; g < n_groups(); ++g) {
    c.plans[g].Reserve(n_pages, std::max({table_.n_hot(g), budget_.pages, c.two_stage ? shortlist_size : 0}));
    if (KeepsSelected()) GrowCapacity(selected_[g], budget_.topk);
  }
  if (combine_ != CombineKind::kSoftmaxPinned) return OkStatus();
  c.pinned_lse.resize(shape_.n_q_heads);
  return ScorePinned(*choice.blocks, choice.q, c.pinned_lse);
}

DigestScoreArgs LayerPages::ScoreArgs(bool both_planes) const {
  return {.kind = digest_,
          .type = digest_type_,
          .page_tokens = page_tokens_,
          .head_dim = shape_.head_dim_k,
          .n_q_heads = shape_.q_per_kv(),
          .sum_heads = sums_heads(),
          .n_planes = both_planes ? 2 : 1,
          .items = {}};
}

// One call of the op per kind of digest; whoever finishes a group's last head does the rest for that group.
Status LayerPages::ScoreChoices(const Stage& stage) {
  const auto same = [](const DigestScoreArgs& a, const DigestScoreArgs& b) {
    return a.kind == b.kind && a.type == b.type && a.page_tokens == b.page_tokens && a.sum_heads == b.sum_heads &&
           a.n_planes == b.n_planes;
  };
  KvScratch& s = *stage.scratch;
  const std::function<void(int64_t, int)> item_done = [&stage](int64_t item, int thread) {
    const auto [choice, head] = stage.scratch->score_owners[item];
    stage.choices[choice].pages->FinishHead(stage, choice, head, thread);
  };
  for (size_t i = 0; i < stage.choices.size(); ++i) {
    if (!stage.Has(i)) continue;
    DigestScoreArgs args = stage.Args(i);
    const auto joins = [&](size_t j) { return stage.Has(j) && same(stage.Args(j), args); };
    bool done = false;
    for (size_t j = 0; j < i; ++j) done |= joins(j);
    if (done) continue;
    s.score_items.clear();
    s.score_owners.clear();
    for (size_t j = i; j < stage.choices.size(); ++j) {
      if (joins(j)) stage.choices[j].pages->AddScoreItems(stage, static_cast<int32_t>(j));
    }
    args.items = s.score_items;
    args.item_done = &item_done;
    ARKVALE_RETURN_IF_ERROR(DigestScore(*stage.choices[i].pages->env_.ctx, args));
  }
  return OkStatus();
}

void LayerPages::AddScoreItems(const Stage& stage, int32_t choice) {
  ChoiceScratch& c = stage.scratch->choices[choice];
  const int64_t n = n_scored();
  const auto size = static_cast<int64_t>(c.shortlist_pages.size()) / n_groups();
  std::fill(c.heads_left.begin(), c.heads_left.end(), group_heads_);
  for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
    DigestScoreItem item = digests_.ScoreItem(head, n);
    item.q = stage.choices[choice].q + int64_t{head} * shape_.q_per_kv() * shape_.head_dim_k;
    item.scores = c.head_scores.data() + int64_t{head} * rows_per_head() * n;
    if (stage.second) {
      item.pages = {c.shortlist_pages.data() + head / group_heads_ * size, static_cast<size_t>(size)};
    }
    stage.scratch->score_items.push_back(item);
    stage.scratch->score_owners.emplace_back(choice, head);
  }
}

// Runs on any thread of the scoring loop; a group's last head goes on with what its scores are for.
void LayerPages::FinishHead(const Stage& stage, int32_t choice, int32_t head, int thread) {
  ChoiceScratch& c = stage.scratch->choices[choice];
  const int32_t g = head / group_heads_;
  if (std::atomic_ref(c.heads_left[g]).fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  const int64_t n = n_scored();
  if (stage.second) {
    const auto scores = std::span(c.second_scores).subspan(g * n, n);
    CombineGroup(c, g, thread, scores);
    for (int64_t i = 0; i < n; ++i) {
      if (c.shortlist[g * n + i] != 0) c.group_scores[g * n + i] = scores[i];
    }
  } else if (combines()) {
    CombineGroup(c, g, thread, std::span(c.group_scores).subspan(g * n, n));
  }
  if (c.two_stage && !stage.second) {
    MakeShortlist(c, g);
  } else {
    PlanGroup(c, g, stage.step);
  }
}

std::span<const float> LayerPages::GroupScores(const ChoiceScratch& c, int32_t group) const {
  return std::span<const float>(combines() ? c.group_scores : c.head_scores).subspan(group * n_scored(), n_scored());
}

void LayerPages::CombineGroup(const ChoiceScratch& c, int32_t group, int thread, std::span<float> out) const {
  const int64_t rows = rows_per_group(), n = n_scored();
  CombineInput in{.kind = combine_,
                  .head_scores = std::span(c.head_scores).subspan(group * rows * n, rows * n),
                  .n_heads = static_cast<int32_t>(rows),
                  .scale = shape_.scale,
                  .softcap = shape_.softcap,
                  .begin = budget_.candidates_begin(),
                  .end = budget_.candidates_end(table_.n_pages())};
  if (combine_ == CombineKind::kSoftmaxPinned) in.pinned_lse = std::span(c.pinned_lse).subspan(group * rows, rows);
  auto* weights = static_cast<float*>(env_.ctx->workspace->PerThread(thread, n * sizeof(float)));
  CombineScores(in, out, {weights, static_cast<size_t>(n)});
}

// The best candidates of a group by its scores.
void LayerPages::MakeShortlist(ChoiceScratch& c, int32_t group) const {
  const int64_t n = n_scored();
  const auto size = static_cast<int64_t>(c.shortlist_pages.size()) / n_groups();
  std::vector<int32_t>& best = c.plans[group].selected;
  SelectPages({.scores = GroupScores(c, group)}, budget_.candidates_begin(), budget_.candidates_end(table_.n_pages()),
              static_cast<int32_t>(size), best, &c.plans[group].top_k);
  std::sort(best.begin(), best.end());
  std::copy(best.begin(), best.end(), c.shortlist_pages.begin() + group * size);
  for (const int32_t page : best) c.shortlist[group * n + page] = 1;
}

void LayerPages::PlanGroup(ChoiceScratch& c, int32_t group, bool step) {
  const int64_t n = n_scored();
  ResidencyPlan& plan = c.plans[group];
  ResidencyInput in{.budget = budget_,
                    .states = table_.states(group),
                    .scores = GroupScores(c, group),
                    .window_exit = window_exit_,
                    .page_opened = page_opened_};
  if (c.two_stage) in.shortlist = std::span(c.shortlist).subspan(group * n, n);
  if (!step) return PlanAfterPrefill(in, plan);
  if (budget_.evicts) {
    PlanStep(in, plan);
  } else {
    SelectPages({in.scores, in.shortlist}, budget_.candidates_begin(), budget_.candidates_end(table_.n_pages()),
                budget_.topk, plan.selected, &plan.top_k);
  }
  if (!KeepsSelected()) return;
  selected_[group].assign(plan.selected.begin(), plan.selected.end());
  std::sort(selected_[group].begin(), selected_[group].end());
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
