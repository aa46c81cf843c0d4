#include "plan/gains.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "plan/plan_test_util.h"

namespace arkvale {
namespace {

using test::kThreeLayers;

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-7) << i;
}

void ExpectRefused(const Status& status, const std::string& words) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << words;
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(TokenGains, WorkedExample) {
  const std::vector<double> want[] = {{.275, .275, .225, .225}, {.65, .15, .10, .10}, {.40, .30, .20, .10}};
  for (size_t l = 0; l < 3; ++l) {
    const auto gains = TokenGains(kThreeLayers[l], 2);
    ASSERT_TRUE(gains.ok());
    ExpectNear(*gains, want[l]);
  }
}

TEST(TokenGains, EqualTheDefinitionOnRandomScores) {
  Rng rng("plan/token_gains");
  for (const int32_t heads : {1, 3, 8}) {
    for (const int64_t n : {1, 2, 97, 1000}) {
      const std::vector<float> scores = test::RandomScores(rng, heads * n);
      const double total = std::accumulate(scores.begin(), scores.end(), 0.0);
      std::vector<double> want(n, 0.0);
      for (int32_t e = 0; e < heads; ++e) {
        std::multiset<float, std::greater<>> sorted(scores.begin() + e * n, scores.begin() + (e + 1) * n);
        int64_t m = 0;
        for (const float v : sorted) want[m++] += v / total;
      }
      const auto gains = TokenGains(scores, heads);
      ASSERT_TRUE(gains.ok());
      ExpectNear(*gains, want);
      EXPECT_TRUE(std::is_sorted(gains->begin(), gains->end(), std::greater<>()));
      EXPECT_NEAR(std::accumulate(gains->begin(), gains->end(), 0.0), 1.0, 1e-6);
    }
  }
}

TEST(TokenGains, NothingLookedAtGainsNothing) {
  const auto gains = TokenGains(std::vector<float>(6, 0.0f), 2);
  ASSERT_TRUE(gains.ok());
  EXPECT_EQ(*gains, std::vector<float>(3, 0.0f));
}

TEST(TokenGains, HugeAndTinyScoresStayFinite) {
  const auto gains = TokenGains(std::vector<float>{3e38f, 3e38f, 1e-45f, 3e38f}, 1);
  ASSERT_TRUE(gains.ok());
  ExpectNear(*gains, {1.0 / 3, 1.0 / 3, 1.0 / 3, 0});
}

TEST(TokenGains, BadScoresAreRefused) {
  const float inf = std::numeric_limits<float>::infinity();
  ExpectRefused(TokenGains(std::vector<float>{1, 2, 3, NAN}, 2).status(), "nan of token 1 and kv head 1");
  ExpectRefused(TokenGains(std::vector<float>{1, 2, inf, 0}, 2).status(), "inf of token 0 and kv head 1");
  ExpectRefused(TokenGains(std::vector<float>{1, -2, 3, 0}, 2).status(), "-2.000000 of token 1 and kv head 0");
  ExpectRefused(TokenGains({}, 2).status(), "0 scores of 2 kv heads");
  ExpectRefused(TokenGains(std::vector<float>(5, 1.0f), 2).status(), "5 scores of 2 kv heads");
  ExpectRefused(TokenGains(std::vector<float>(4, 1.0f), 0).status(), "4 scores of 0 kv heads");
}

TEST(PageGains, WorkedExample) {
  const std::vector<double> want[] = {{.5, .5}, {.8, .2}, {.7, .3}};
  for (size_t l = 0; l < 3; ++l) {
    PageGainsArgs args{.scores = kThreeLayers[l], .n_kv_heads = 2, .page_tokens = 2, .n_prompt_tokens = 4};
    const auto fine = PageGains(args);
    args.group_heads = 2;
    const auto coarse = PageGains(args);
    ASSERT_TRUE(fine.ok() && coarse.ok());
    ExpectNear(fine->gains, want[l]);
    ExpectNear(coarse->gains, {.5, .5});
    EXPECT_EQ(fine->pinned_share, 0.0);
  }
}

// Page by page, token by token.
PagesWorth ReferencePages(const PageGainsArgs& a) {
  const int64_t n_scores = static_cast<int64_t>(a.scores.size()) / a.n_kv_heads;
  const int64_t n = (a.n_prompt_tokens + a.page_tokens - 1) / a.page_tokens;
  double total = 0, pinned = 0;
  std::vector<double> sums;
  for (int32_t first = 0; first < a.n_kv_heads; first += a.group_heads) {
    std::vector<double> candidates;
    for (int64_t page = 0; page < n; ++page) {
      double sum = 0;
      for (int64_t t = page * a.page_tokens; t < std::min((page + 1) * a.page_tokens, n_scores); ++t) {
        for (int32_t e = first; e < first + a.group_heads; ++e) sum += a.scores[e * n_scores + t];
      }
      total += sum;
      if (page >= a.sink_pages && page < n - a.window_pages) {
        candidates.push_back(sum);
      } else {
        pinned += sum;
      }
    }
    std::sort(candidates.begin(), candidates.end(), std::greater<>());
    sums.resize(candidates.size());
    for (size_t m = 0; m < sums.size(); ++m) sums[m] += candidates[m];
  }
  PagesWorth worth{pinned / total, {}};
  for (const double sum : sums) worth.gains.push_back(static_cast<float>(sum / total));
  return worth;
}

TEST(PageGains, EqualTheDefinitionOnRandomScores) {
  Rng rng("plan/page_gains");
  for (int round = 0; round < 500; ++round) {
    const int32_t groups = 1 + static_cast<int32_t>(rng.Below(3)), g = 1 + static_cast<int32_t>(rng.Below(3));
    const int64_t n = 1 + static_cast<int64_t>(rng.Below(100)), window = static_cast<int64_t>(rng.Below(20));
    const std::vector<float> scores = test::RandomScores(rng, groups * g * n);
    const PageGainsArgs args{.scores = scores,
                             .n_kv_heads = groups * g,
                             .group_heads = g,
                             .page_tokens = 1 + static_cast<int32_t>(rng.Below(9)),
                             .sink_pages = static_cast<int32_t>(rng.Below(4)),
                             .window_pages = static_cast<int32_t>(rng.Below(4)),
                             .n_prompt_tokens = n + window};
    const auto worth = PageGains(args);
    ASSERT_TRUE(worth.ok());
    const PagesWorth want = ReferencePages(args);
    EXPECT_NEAR(worth->pinned_share, want.pinned_share, 1e-12);
    ExpectNear(worth->gains, {want.gains.begin(), want.gains.end()});
    EXPECT_TRUE(std::is_sorted(worth->gains.begin(), worth->gains.end(), std::greater<>()));
    EXPECT_NEAR(std::accumulate(worth->gains.begin(), worth->gains.end(), worth->pinned_share), 1.0, 1e-6);
  }
}

TEST(PageGains, TokensBehindTheScoresCountNothing) {
  // Tokens 0..5 have scores, 6..9 are the window: pages of 4 are 0..3, 4..7 (partly) and 8..9 (the window page).
  const std::vector<float> scores = {1, 1, 1, 1, 3, 3};
  PageGainsArgs args{.scores = scores, .page_tokens = 4, .window_pages = 1, .n_prompt_tokens = 10};
  auto worth = PageGains(args);
  ASSERT_TRUE(worth.ok());
  ExpectNear(worth->gains, {.6, .4});
  args.window_pages = 0;
  worth = PageGains(args);
  ASSERT_TRUE(worth.ok());
  ExpectNear(worth->gains, {.6, .4, 0});
  args.sink_pages = 5;
  worth = PageGains(args);
  ASSERT_TRUE(worth.ok());
  EXPECT_TRUE(worth->gains.empty());
  EXPECT_EQ(worth->pinned_share, 1.0);
}

TEST(PageGains, NothingLookedAtGainsNothing) {
  const std::vector<float> scores(8, 0.0f);
  const auto worth = PageGains({.scores = scores, .page_tokens = 2, .sink_pages = 1, .n_prompt_tokens = 8});
  ASSERT_TRUE(worth.ok());
  EXPECT_EQ(worth->pinned_share, 0.0);
  EXPECT_EQ(worth->gains, std::vector<float>(3, 0.0f));
}

TEST(PageGains, BadShapesAreRefused) {
  const std::vector<float> scores(6, 1.0f);
  const PageGainsArgs good{.scores = scores, .n_kv_heads = 2, .page_tokens = 2, .n_prompt_tokens = 3};
  EXPECT_TRUE(PageGains(good).ok());
  const auto refused = [&](auto change, const std::string& words) {
    PageGainsArgs args = good;
    change(args);
    ExpectRefused(PageGains(args).status(), words);
  };
  refused([](auto& a) { a.group_heads = 3; }, "group of 3 kv heads does not divide 2");
  refused([](auto& a) { a.group_heads = 0; }, "group of 0 kv heads");
  refused([](auto& a) { a.page_tokens = 0; }, "pages of 0 tokens");
  refused([](auto& a) { a.sink_pages = -1; }, "-1 sinks");
  refused([](auto& a) { a.window_pages = -1; }, "window of -1");
  refused([](auto& a) { a.n_prompt_tokens = 2; }, "3 scores per kv head for a prompt of 2 tokens");
  refused([](auto& a) { a.n_kv_heads = 4; }, "6 scores of 4 kv heads");
}

}  // namespace
}  // namespace arkvale
