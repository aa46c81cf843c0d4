#include "engine/prefix_reuse.h"

#include <gtest/gtest.h>

#include <vector>

namespace arkvale {
namespace {

using Ids = std::vector<int32_t>;

TEST(ReusableTokens, IsTheLongestCommonPrefixShortOfTheLastToken) {
  const Ids kept = {1, 2, 3, 4};
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 4, 5, 6}, {kept}, 1), 4);
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 4}, {kept}, 1), 3) << "the last query must be computed";
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3}, {kept}, 1), 2);
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 9, 4, 5}, {kept}, 1), 2);
  EXPECT_EQ(ReusableTokens(Ids{9, 2, 3, 4}, {kept}, 1), 0);
  EXPECT_EQ(ReusableTokens(Ids{1}, {kept}, 1), 0);
  EXPECT_EQ(ReusableTokens(Ids{}, {kept}, 1), 0);
  EXPECT_EQ(ReusableTokens(Ids{1, 2}, {Ids{}}, 1), 0);
}

TEST(ReusableTokens, NotLessThanIsWorthIt) {
  const Ids kept = {1, 2, 3, 4};
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 9}, {kept}, 3), 3);
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 9}, {kept}, 4), 0);
}

TEST(ReusableTokens, NotBelowWhereTheSourceCanBeCut) {
  const Ids kept = {1, 2, 3, 4};
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 9}, {kept, 3}, 1), 3);
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 9}, {kept, 4}, 1), 0);
  EXPECT_EQ(ReusableTokens(Ids{1, 2, 3, 4, 5}, {kept, 4}, 1), 4);
}

TEST(Covers, WhatBeginsAlikeAndCanBeCutAsFar) {
  const Ids a = {1, 2}, ab = {1, 2, 3}, other = {1, 9, 3};
  EXPECT_TRUE(Covers({ab}, {a}));
  EXPECT_TRUE(Covers({a}, {a}));
  EXPECT_FALSE(Covers({a}, {ab}));
  EXPECT_FALSE(Covers({other}, {a}));
  EXPECT_FALSE(Covers({ab, 3}, {a, 2})) << "a sliding window has moved on";
  EXPECT_TRUE(Covers({ab, 2}, {a, 2}));
}

TEST(CheckKeepsAllTokens, RefusesByName) {
  for (const auto kind : {KvPolicyKind::kFull, KvPolicyKind::kArkvale, KvPolicyKind::kQuest}) {
    EXPECT_TRUE(CheckKeepsAllTokens(kind).ok()) << KvPolicyName(kind);
  }
  const auto unknown = static_cast<KvPolicyKind>(99);
  const Status status = CheckKeepsAllTokens(unknown);
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find("'" + std::string(KvPolicyName(unknown)) + "'"), std::string::npos);
}

}  // namespace
}  // namespace arkvale
