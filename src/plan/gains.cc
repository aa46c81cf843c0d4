#include "plan/gains.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>

namespace arkvale {
namespace {

// The sum of the scores, or what is wrong with them.
Result<double> SumScores(std::span<const float> scores, int32_t n_kv_heads) {
  if (n_kv_heads < 1 || scores.empty() || scores.size() % static_cast<size_t>(n_kv_heads) != 0) {
    return InvalidArgument(std::to_string(scores.size()) + " scores of " + std::to_string(n_kv_heads) +
                           " kv heads: give one score per head and token before the window, and at least one");
  }
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] >= 0 && scores[i] <= std::numeric_limits<float>::max())) {
      const size_t n = scores.size() / static_cast<size_t>(n_kv_heads);
      return InvalidArgument("score " + std::to_string(scores[i]) + " of token " + std::to_string(i % n) +
                             " and kv head " + std::to_string(i / n) + ": use finite scores of 0 and more");
    }
    sum += scores[i];
  }
  return sum;
}

// sums[m] += the m-th largest value. Rounding is monotone, so that the sums stay non-increasing.
template <typename T>
void AddRanked(std::vector<T>& values, std::vector<double>& sums) {
  std::sort(values.begin(), values.end(), std::greater<>());
  for (size_t m = 0; m < values.size(); ++m) sums[m] += values[m];
}

std::vector<float> SharesOf(std::span<const double> sums, double total) {
  std::vector<float> shares(sums.size(), 0.0f);
  if (total == 0) return shares;
  for (size_t m = 0; m < sums.size(); ++m) shares[m] = static_cast<float>(sums[m] / total);
  return shares;
}

Status CheckPages(const PageGainsArgs& a) {
  if (a.group_heads < 1 || a.n_kv_heads % a.group_heads != 0) {
    return InvalidArgument("group of " + std::to_string(a.group_heads) + " kv heads does not divide " +
                           std::to_string(a.n_kv_heads) + ": use a divisor");
  }
  if (a.page_tokens < 1 || a.sink_pages < 0 || a.window_pages < 0) {
    return InvalidArgument("pages of " + std::to_string(a.page_tokens) + " tokens, " + std::to_string(a.sink_pages) +
                           " sinks, window of " + std::to_string(a.window_pages) + ": none may be negative");
  }
  const auto n = static_cast<int64_t>(a.scores.size()) / a.n_kv_heads;
  if (n <= a.n_prompt_tokens) return OkStatus();
  return InvalidArgument(std::to_string(n) + " scores per kv head for a prompt of " +
                         std::to_string(a.n_prompt_tokens) + " tokens: give at most one per token");
}

// The candidate pages of a prompt, and the tokens with a score.
struct Candidates {
  int64_t page_tokens, first, n_pages, n_scores;

  int64_t begin(int64_t i) const { return std::min((first + i) * page_tokens, n_scores); }
};

Candidates CandidatesOf(const PageGainsArgs& a) {
  const int64_t n = a.n_prompt_tokens / a.page_tokens + (a.n_prompt_tokens % a.page_tokens != 0);
  return {a.page_tokens, a.sink_pages, std::max<int64_t>(0, n - a.window_pages - a.sink_pages),
          static_cast<int64_t>(a.scores.size()) / a.n_kv_heads};
}

// Adds one head's scores: those of candidates to `pages`, the others to `pinned`.
void AddHead(const Candidates& c, std::span<const float> head, std::vector<double>& pages, double& pinned) {
  for (int64_t t = 0; t < c.begin(0); ++t) pinned += head[t];
  for (int64_t i = 0; i < c.n_pages; ++i) {
    for (int64_t t = c.begin(i); t < c.begin(i + 1); ++t) pages[i] += head[t];
  }
  for (int64_t t = c.begin(c.n_pages); t < c.n_scores; ++t) pinned += head[t];
}

}  // namespace

Result<std::vector<float>> TokenGains(std::span<const float> scores, int32_t n_kv_heads) {
  ARKVALE_ASSIGN_OR_RETURN(const double total, SumScores(scores, n_kv_heads));
  const size_t n = scores.size() / static_cast<size_t>(n_kv_heads);
  std::vector<double> sums(n, 0.0);
  std::vector<float> head(n);
  for (int32_t e = 0; e < n_kv_heads; ++e) {
    const auto row = scores.subspan(static_cast<size_t>(e) * n, n);
    std::copy(row.begin(), row.end(), head.begin());
    AddRanked(head, sums);
  }
  return SharesOf(sums, total);
}

Result<PagesWorth> PageGains(const PageGainsArgs& args) {
  ARKVALE_ASSIGN_OR_RETURN(const double total, SumScores(args.scores, args.n_kv_heads));
  ARKVALE_RETURN_IF_ERROR(CheckPages(args));
  const Candidates candidates = CandidatesOf(args);
  const auto n = static_cast<size_t>(candidates.n_scores);
  std::vector<double> sums(static_cast<size_t>(candidates.n_pages), 0.0), pages;
  double pinned = 0;
  for (int32_t e = 0; e < args.n_kv_heads; ++e) {
    if (e % args.group_heads == 0) pages.assign(sums.size(), 0.0);
    AddHead(candidates, args.scores.subspan(static_cast<size_t>(e) * n, n), pages, pinned);
    if ((e + 1) % args.group_heads == 0) AddRanked(pages, sums);
  }
  return PagesWorth{total == 0 ? 0.0 : pinned / total, SharesOf(sums, total)};
}

}  // namespace arkvale
