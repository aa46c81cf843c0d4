#include "tools/eval/longbench_prompt.h"

#include <gtest/gtest.h>

#include <numeric>

namespace arkvale::tools {
namespace {

using Ids = std::vector<int32_t>;

Ids Of(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

// Evaluation protocol, section 10.
TEST(LongBenchPrompt, TheMiddleIsCut) {
  Ids ids(15);
  std::iota(ids.begin(), ids.end(), 0);
  const Halves ten = CutMiddle(ids, 10), nine = CutMiddle(ids, 9), all = CutMiddle(ids, 15);
  EXPECT_EQ(Of(ten.first), (Ids{0, 1, 2, 3, 4}));
  EXPECT_EQ(Of(ten.last), (Ids{10, 11, 12, 13, 14}));
  EXPECT_EQ(Of(nine.first), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(Of(nine.last), (Ids{11, 12, 13, 14}));
  EXPECT_EQ(Of(all.first), ids);
  EXPECT_TRUE(all.last.empty());
}

TEST(LongBenchPrompt, CutCharactersAreDropped) {
  constexpr const char* kFour = "\xF0\x9F\x98\x80";
  EXPECT_EQ(DropCutEnd("abc"), "abc");
  EXPECT_EQ(DropCutEnd(""), "");
  EXPECT_EQ(DropCutEnd("a\xC3"), "a");
  EXPECT_EQ(DropCutEnd("a\xC3\xA9"), "a\xC3\xA9");
  EXPECT_EQ(DropCutEnd("a\xE2\x82"), "a");
  for (const size_t n : {1, 2, 3}) EXPECT_EQ(DropCutEnd("a" + std::string(kFour, n)), "a") << n;
  EXPECT_EQ(DropCutEnd(std::string("a") + kFour), std::string("a") + kFour);
  EXPECT_EQ(DropCutStart("abc"), "abc");
  EXPECT_EQ(DropCutStart(""), "");
  EXPECT_EQ(DropCutStart("\xA9z"), "z");
  EXPECT_EQ(DropCutStart("\x9F\x98\x80z"), "z");
  EXPECT_EQ(DropCutStart(std::string(kFour) + "z"), std::string(kFour) + "z");
}

TEST(LongBenchPrompt, TheBenchmarksLimits) {
  EXPECT_EQ(DefaultMaxPrompt(4096), 3500);
  EXPECT_EQ(DefaultMaxPrompt(8192), 7500);
  EXPECT_EQ(DefaultMaxPrompt(16384), 15500);
  EXPECT_EQ(DefaultMaxPrompt(32768), 31500);
  EXPECT_EQ(DefaultMaxPrompt(2048), 1024);
  EXPECT_EQ(DefaultMaxPrompt(512), 256);
}

}  // namespace
}  // namespace arkvale::tools
