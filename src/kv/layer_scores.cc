// The scoring part of LayerPages: estimates from digests, exact scores of pages, and the audit that compares them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/clock.h"
#include "kv/audit.h"
#include "kv/layer_pages.h"
#include "ops/page_scores.h"

namespace arkvale {

// The mean of the vector digests is linear in the split query: one combined query per kv head does for all its heads.
bool LayerPages::sums_heads() const { return combine_ == CombineKind::kMean && !IsCode(digest_); }

// Scores pages [0, n_pages - 1) of every group into scratch->group_scores and, with two stages, scratch->shortlist.
Status LayerPages::Score(const BlockList& blocks, const float* q) {
  const int64_t start = NowNs();
  const int64_t n = table_.n_pages() - 1;
  KvScratch& s = *env_.scratch;
  if (combine_ == CombineKind::kSoftmaxPinned) ARKVALE_RETURN_IF_ERROR(ScorePinned(blocks, q));
  s.head_scores.resize(static_cast<size_t>(shape_.n_kv_heads) * rows_per_head() * n);
  s.group_scores.resize(static_cast<size_t>(n_groups()) * n);
  s.shortlist.clear();
  const int32_t size = ShortlistSize(budget_, table_.n_pages());
  const bool two_stage = code_scan_ == CodeScan::kTwoStage && digest_ == DigestKind::kCode2 &&
                         size < budget_.n_candidates(table_.n_pages());
  ARKVALE_RETURN_IF_ERROR(ScoreDigests(q, two_stage ? 1 : 2, 0));
  CombineGroups(s.group_scores);
  if (two_stage) {
    MakeShortlist(size);
    ARKVALE_RETURN_IF_ERROR(ScoreDigests(q, 2, size));
    s.second_scores.resize(s.group_scores.size());
    CombineGroups(s.second_scores);
    for (size_t i = 0; i < s.shortlist.size(); ++i) {
      if (s.shortlist[i] != 0) s.group_scores[i] = s.second_scores[i];
    }
  }
  env_.timings->estimate_ns += NowNs() - start;
  return OkStatus();
}

// Estimates into scratch->head_scores; of all pages, or of each group's shortlist where that has a size.
Status LayerPages::ScoreDigests(const float* q, int32_t n_planes, int64_t shortlist_size) {
  const int64_t n = table_.n_pages() - 1;
  KvScratch& s = *env_.scratch;
  s.score_items.clear();
  for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
    DigestScoreItem item = digests_.ScoreItem(head, n);
    item.q = q + int64_t{head} * shape_.q_per_kv() * shape_.head_dim_k;
    item.scores = s.head_scores.data() + int64_t{head} * rows_per_head() * n;
    if (shortlist_size > 0) {
      item.pages = {s.shortlist_pages.data() + head / group_heads_ * shortlist_size,
                    static_cast<size_t>(shortlist_size)};
    }
    s.score_items.push_back(item);
  }
  return DigestScore(*env_.ctx, {.kind = digest_,
                                 .type = digest_type_,
                                 .page_tokens = page_tokens_,
                                 .head_dim = shape_.head_dim_k,
                                 .n_q_heads = shape_.q_per_kv(),
                                 .sum_heads = sums_heads(),
                                 .n_planes = n_planes,
                                 .items = s.score_items});
}

// out: [n_groups, n_pages - 1].
void LayerPages::CombineGroups(std::span<float> out) const {
  const int64_t n = table_.n_pages() - 1;
  env_.ctx->pool->ParallelFor(n_groups(), [&](int64_t g, int thread) {
    auto* scratch = static_cast<float*>(env_.ctx->workspace->PerThread(thread, n * sizeof(float)));
    CombineGroup(static_cast<int32_t>(g), out.subspan(g * n, n), {scratch, static_cast<size_t>(n)});
  });
}

void LayerPages::CombineGroup(int32_t group, std::span<float> out, std::span<float> scratch) const {
  const int64_t rows = int64_t{group_heads_} * rows_per_head();
  const auto n = static_cast<int64_t>(out.size());
  const KvScratch& s = *env_.scratch;
  CombineInput in{.kind = combine_,
                  .head_scores = {s.head_scores.data() + group * rows * n, static_cast<size_t>(rows * n)},
                  .n_heads = static_cast<int32_t>(rows),
                  .scale = shape_.scale,
                  .softcap = shape_.softcap,
                  .begin = budget_.candidates_begin(),
                  .end = budget_.candidates_end(table_.n_pages())};
  if (combine_ == CombineKind::kSoftmaxPinned) {
    in.pinned_lse = {s.pinned_lse.data() + group * rows, static_cast<size_t>(rows)};
  }
  CombineScores(in, out, scratch);
  // Head sums became a mean over kv heads; the query heads of each are still a plain sum.
  if (sums_heads() && shape_.q_per_kv() > 1) {
    for (float& x : out) x /= static_cast<float>(shape_.q_per_kv());
  }
}

// The best `size` candidates of every group by scratch->group_scores.
void LayerPages::MakeShortlist(int32_t size) {
  KvScratch& s = *env_.scratch;
  const size_t n = table_.n_pages() - 1;
  s.shortlist.assign(static_cast<size_t>(n_groups()) * n, 0);
  s.shortlist_pages.resize(static_cast<size_t>(n_groups()) * size);
  for (int32_t g = 0; g < n_groups(); ++g) {
    std::vector<int32_t>& best = s.plan.selected;
    SelectPages({.scores = {s.group_scores.data() + g * n, n}}, budget_.candidates_begin(),
                budget_.candidates_end(table_.n_pages()), size, best);
    std::sort(best.begin(), best.end());
    std::copy(best.begin(), best.end(), s.shortlist_pages.begin() + static_cast<int64_t>(g) * size);
    for (const int32_t page : best) s.shortlist[g * n + page] = 1;
  }
}

// Logsumexp of every query head over sinks and window, the current token included, into scratch->pinned_lse.
Status LayerPages::ScorePinned(const BlockList& blocks, const float* q) {
  KvScratch& s = *env_.scratch;
  const int32_t n_pages = table_.n_pages();
  s.pages.clear();
  for (int32_t page = 0; page < budget_.candidates_begin(); ++page) s.pages.push_back(page);
  for (int32_t page = budget_.candidates_end(n_pages); page < n_pages; ++page) s.pages.push_back(page);
  ARKVALE_RETURN_IF_ERROR(ScoreExactly(blocks, q, /*want_max=*/false));
  const size_t n = s.pages.size();
  s.pinned_lse.resize(shape_.n_q_heads);
  for (int32_t h = 0; h < shape_.n_q_heads; ++h) {
    const std::span<const float> lse(s.exact_lse.data() + h * n, n);
    const double top = *std::max_element(lse.begin(), lse.end());
    double sum = 0;
    for (const float x : lse) sum += x == top ? 1.0 : std::exp(x - top);
    s.pinned_lse[h] = static_cast<float>(top + std::log(sum));
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
