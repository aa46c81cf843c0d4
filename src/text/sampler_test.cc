#include "text/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace arkvale {
namespace {

std::unique_ptr<Sampler> Make(const SamplingOptions& options) {
  auto sampler = Sampler::Create(options);
  EXPECT_TRUE(sampler.ok()) << sampler.status().ToString();
  return std::move(sampler).value();
}

std::vector<int32_t> Draw(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(*sampler.Sample(logits));
  return ids;
}

TEST(Sampler, GreedyTakesTheHighestAndTheLowestIdOnTies) {
  const auto sampler = Make({});
  EXPECT_EQ(*sampler->Sample(std::vector<float>{1, 5, 3}), 1);
  EXPECT_EQ(*sampler->Sample(std::vector<float>{-2, 7, 1, 7, 7}), 1);
  EXPECT_EQ(*sampler->Sample(std::vector<float>{-1, -1}), 0);
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  for (const float temperature : {0.0f, 1.0f}) {
    const auto sampler = Make({.temperature = temperature});
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> logits(100, 1.0f);
      logits[77] = bad;
      const auto id = sampler->Sample(logits);
      ASSERT_FALSE(id.ok());
      EXPECT_EQ(id.status().kind(), StatusKind::kInternal);
      EXPECT_NE(id.status().message().find("token 77"), std::string::npos) << id.status().message();
    }
    EXPECT_TRUE(sampler->Sample(std::vector<float>{std::numeric_limits<float>::max(), 0}).ok());
  }
}

TEST(Sampler, EqualSeedsDrawEqually) {
  std::vector<float> logits(500);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  for (const uint32_t seed : {0u, 7u, 0xFFFFFFFFu}) {
    const SamplingOptions options{.temperature = 1.0f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed};
    EXPECT_EQ(Draw(*Make(options), logits, 50), Draw(*Make(options), logits, 50)) << seed;
  }
  const SamplingOptions one{.temperature = 1.0f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 1};
  const SamplingOptions two{.temperature = 1.0f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 2};
  EXPECT_NE(Draw(*Make(one), logits, 50), Draw(*Make(two), logits, 50));
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  const std::vector<float> logits = {0, 3, 1, 2.9f, -4};
  const auto kinds = [&](const SamplingOptions& options) {
    const auto ids = Draw(*Make(options), logits, 400);
    return std::set<int32_t>(ids.begin(), ids.end());
  };
  const std::set<int32_t> top_two = {1, 3};
  EXPECT_EQ(kinds({.temperature = 5, .top_k = 2, .top_p = 1, .min_p = 0}), top_two);
  EXPECT_EQ(kinds({.temperature = 5, .top_k = 0, .top_p = 0.6f, .min_p = 0}), top_two);
  EXPECT_EQ(kinds({.temperature = 5, .top_k = 0, .top_p = 1, .min_p = 0.5f}), top_two);
  EXPECT_GE(kinds({.temperature = 5, .top_k = 0, .top_p = 1, .min_p = 0}).size(), 4u);
}

// 20,000 draws of two tokens, log-odds ln 3: the share of the first is 3/4 with a deviation of 0.003.
TEST(Sampler, DrawsByProbability) {
  const SamplingOptions options{.temperature = 2.0f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 3};
  const auto ids = Draw(*Make(options), {2.0f * std::log(3.0f), 0.0f}, 20000);
  const auto first = std::count(ids.begin(), ids.end(), 0);
  EXPECT_NEAR(static_cast<double>(first) / 20000, 0.75, 0.015);
}

TEST(Sampler, RefusesBadOptions) {
  const auto kind = [](const SamplingOptions& options) { return Sampler::Create(options).status().kind(); };
  EXPECT_EQ(kind({.temperature = -1}), StatusKind::kInvalidArgument);
  EXPECT_EQ(kind({.temperature = NAN}), StatusKind::kInvalidArgument);
  EXPECT_EQ(kind({.top_k = -1}), StatusKind::kInvalidArgument);
  EXPECT_EQ(kind({.top_p = 1.5f}), StatusKind::kInvalidArgument);
  EXPECT_EQ(kind({.min_p = -0.1f}), StatusKind::kInvalidArgument);
  EXPECT_EQ(kind({.min_p = NAN}), StatusKind::kInvalidArgument);
}

}  // namespace
}  // namespace arkvale
