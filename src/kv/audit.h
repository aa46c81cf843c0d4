// What --kv-audit computes from true scores (algorithms 6.1). Pure functions of numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"

namespace arkvale {

// True score of each page: over a group's query heads, the largest max q.k for CombineKind::kMax, the mean for every
// other kind. max_qk: [n_heads, n_pages]; out: [n_pages].
void TrueScores(CombineKind kind, std::span<const float> max_qk, int32_t n_heads, std::span<float> out);

// Share of the best selected.size() pages of [begin, end) by true score that are in `selected` (sorted). 1 where
// nothing was selected.
double SetRecall(std::span<const float> true_scores, int32_t begin, int32_t end, std::span<const int32_t> selected);

// Share of the attention that lies in the attended pages, mean over heads. lse: [n_heads, n_pages] natural logsumexp of
// each page's attention scores; attended: [n_pages], 1 = attended.
double MassRecall(std::span<const float> lse, int32_t n_heads, std::span<const uint8_t> attended);

}  // namespace arkvale
