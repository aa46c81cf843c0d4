// Marginal gains: what share of a layer's attention its next token or page adds (XKV, arXiv 2412.05896; algorithms
// 7.1, 7.6). Pure functions: any thread may call them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

// scores: [n_kv_heads, n], v of 7.1 for the tokens before the window (ops/window_scores.h), finite and not negative.
// Result: G [n], non-increasing: the m-th largest scores of the heads, added up, as a share of all scores. All 0 where
// the scores are. InvalidArgument where there are no scores, they do not make whole rows, or one is out of range.
Result<std::vector<float>> TokenGains(std::span<const float> scores, int32_t n_kv_heads);

struct PageGainsArgs {
  std::span<const float> scores;  // as above; n is at most n_prompt_tokens
  int32_t n_kv_heads = 1;
  int32_t group_heads = 1;   // g: kv heads that share one page selection; divides n_kv_heads
  int32_t page_tokens = 32;  // p
  int32_t sink_pages = 0;    // n_s
  int32_t window_pages = 0;  // n_w
  // N_p, the tokens of the window included: its pages are counted by them. Tokens without a score count 0.
  int64_t n_prompt_tokens = 0;
};

struct PagesWorth {
  double pinned_share = 0;   // of the scores, in sinks and window: where a layer's retention starts
  std::vector<float> gains;  // [candidate pages of a group], non-increasing; with pinned_share their sum is 1
};

// Gains of pages: the m-th most looked-at candidate pages of the groups, added up. Everything is 0 where the scores
// are. Errors as TokenGains.
Result<PagesWorth> PageGains(const PageGainsArgs& args);

}  // namespace arkvale
