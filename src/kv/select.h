// Selection of pages: pure functions of numbers (algorithms 3). Nothing here knows where a page lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"

namespace arkvale {

// Paper's cap C of recalled tokens a step (40 pages of 32).
inline constexpr int64_t kTopkCapTokens = 1280;

// Budget of one managed layer in pages.
struct PageBudget {
  int32_t pages = 0;   // B = floor(c / p); 0 = the layer is not managed
  int32_t topk = 0;    // k: candidates chosen anew each step
  int32_t sinks = 0;   // n_s
  int32_t window = 0;  // n_w

  // Candidates are pages [sinks, n_pages - window).
  int32_t candidates_begin() const { return sinks; }
  int32_t candidates_end(int32_t n_pages) const { return n_pages - window; }
  int32_t places() const { return pages - sinks - window; }
};

// algorithms 3.3. `reads_in_place` decides what TopkRule::kAuto means.
PageBudget MakePageBudget(const KvOptions& options, int32_t layer, bool reads_in_place);

// Scores of a group from scores of its query heads (algorithms 3.1). head_scores: [n_heads, n_pages] raw estimates of
// q.k; out: [n_pages]. `scale` is the attention scale, used by softmax-mean alone, whose denominator runs over all
// n_pages.
void CombineScores(CombineKind kind, std::span<const float> head_scores, int32_t n_heads, float scale,
                   std::span<float> out);

// The best min(k, candidates) pages of [begin, end) by scores[page] under the order rule, best first.
void SelectPages(std::span<const float> scores, int32_t begin, int32_t end, int32_t k, std::vector<int32_t>& selected);

}  // namespace arkvale
