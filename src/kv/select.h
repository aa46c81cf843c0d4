// Selection of pages: pure functions of numbers (algorithms 3). Nothing here knows where a page lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "ops/top_k.h"

namespace arkvale {

// Paper's cap C of recalled tokens a step (40 pages of 32).
inline constexpr int64_t kTopkCapTokens = 1280;
// The paper's k_nom = floor(min(C, c/2) / p), sinks and the filled window pages included.
constexpr int64_t PaperTopk(int64_t budget_tokens, int32_t page_tokens) {
  return (budget_tokens / 2 < kTopkCapTokens ? budget_tokens / 2 : kTopkCapTokens) / page_tokens;
}
// Quest reads at least so many pages, the last one included.
inline constexpr int32_t kQuestLeastPages = 3;

// Budget of one managed layer in pages.
struct PageBudget {
  int32_t pages = 0;   // B = floor(c / p); 0 = the layer is not managed
  int32_t topk = 0;    // k: candidates chosen anew each step
  int32_t sinks = 0;   // n_s
  int32_t window = 0;  // n_w
  // False (quest): nothing is ever evicted, and a step reads the pinned and the selected pages only.
  bool evicts = true;

  // Candidates are pages [sinks, n_pages - window).
  int32_t candidates_begin() const { return sinks; }
  int32_t candidates_end(int32_t n_pages) const { return n_pages - window; }
  int32_t n_candidates(int32_t n_pages) const { return candidates_end(n_pages) - candidates_begin(); }
  int32_t places() const { return pages - sinks - window; }
};

// What the options' policy means for a layer (algorithms 3.3, 8), sliding ones aside: the place to look for policies.
// `reads_in_place` decides what TopkRule::kAuto means.
PageBudget MakePageBudget(const KvOptions& options, int32_t layer, bool reads_in_place);

// How the scores of a group's query heads become one per page (algorithms 3.1).
struct CombineInput {
  CombineKind kind = CombineKind::kMean;
  std::span<const float> head_scores;  // [n_heads, n_pages] raw estimates of q.k
  int32_t n_heads = 1;
  // The softmax kinds alone: attention scores are scale * q.k, then capped if softcap > 0.
  float scale = 1.0f;
  float softcap = 0.0f;
  // softmax-pinned alone: the candidates [begin, end), and per head the natural logsumexp of the exact attention scores
  // of the pinned tokens (-inf: none).
  int32_t begin = 0, end = 0;
  std::span<const float> pinned_lse = {};
};

// out: [n_pages]. softmax-mean: the denominator runs over all n_pages. softmax-pinned: pages that are no candidates get
// 0, and the others' scores carry a positive factor common to the group, so that they do not underflow where every head
// looks at the pinned tokens; a head's votes vanish beside those of heads that look at candidates. A NaN estimate
// counts as -inf; no score of a softmax kind is NaN. scratch: [n_pages], for the softmax kinds alone.
void CombineScores(const CombineInput& input, std::span<float> out, std::span<float> scratch);

// How pages rank: by score under the order rule (higher first, equal ones by index, NaN last); pages without a score
// come with the last ones.
struct PageRanking {
  std::span<const float> scores;        // by page; where `pages` are listed, of those
  std::span<const int32_t> pages = {};  // ascending; empty: all

  // -inf where `pages` lack it.
  float Score(int32_t page) const;
  // The larger key ranks first (ops/top_k.h).
  uint64_t Key(int32_t page) const { return RankKey(Score(page), page); }
};

// The best min(k, candidates) pages of [begin, end), best first; of the listed pages, where there are some: they must
// lie in that range. `scratch`: memory that the caller keeps.
void SelectPages(const PageRanking& ranking, int32_t begin, int32_t end, int32_t k, std::vector<int32_t>& selected,
                 TopKScratch* scratch = nullptr);

// rank-every > 1: how many of a ranking's best candidates are scored again at the steps that do not rank all of them.
// Twice as many as a step may choose: single pages are far dearer to score than neighbours, so that a longer list would
// save little. As many as there are candidates means that nothing is saved.
int32_t ShortlistSize(const PageBudget& budget, int32_t n_pages);

}  // namespace arkvale
