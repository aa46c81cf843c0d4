#include "tools/eval/fidelity_windows.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace arkvale::tools {
namespace {

using Starts = std::vector<int64_t>;

// 1000, 1001, ...: none is the BOS, 1.
std::vector<int32_t> Text(int64_t n) {
  std::vector<int32_t> ids(n);
  std::iota(ids.begin(), ids.end(), 1000);
  return ids;
}

TEST(FidelityWindows, SpreadFromStartToEnd) {
  EXPECT_EQ(SpreadStarts(4, 1000, 101), (Starts{0, 299, 599, 899}));
  EXPECT_EQ(SpreadStarts(1, 1000, 101), Starts{0});
  EXPECT_EQ(SpreadStarts(2, 101, 101), (Starts{0, 0}));
}

TEST(FidelityWindows, TheirFirstTokenIsReplacedByTheBos) {
  const auto text = Text(20);
  EXPECT_EQ(WindowIds(text, 5, 4, 1), (std::vector<int32_t>{1, 1006, 1007, 1008}));
  EXPECT_EQ(WindowIds(text, 5, 4, std::nullopt), (std::vector<int32_t>{1005, 1006, 1007, 1008}));
  EXPECT_EQ(WindowIds(text, 16, 4, 1).back(), 1019);
}

// The definition, written out: the text with a BOS in front, cut into chunks of C, a BOS in place of the first token of
// each; the positions C/2 .. C-2 predict the token after them.
TEST(FidelityWindows, ChunksAreThoseOfThePerplexityProgram) {
  for (const bool bos : {true, false}) {
    for (const int64_t chunk : {4, 7, 512}) {
      for (const int64_t n_text : {chunk - 1, chunk, 3 * chunk - 2, 3 * chunk - 1, 3 * chunk}) {
        const auto text = Text(n_text);
        std::vector<int32_t> all = text;
        if (bos) all.insert(all.begin(), 1);
        const auto starts = ChunkStarts(n_text, bos, chunk, 0);
        ASSERT_EQ(starts.size(), all.size() / chunk) << bos << " " << chunk << " " << n_text;
        for (size_t k = 0; k < starts.size(); ++k) {
          std::vector<int32_t> wanted(all.begin() + k * chunk, all.begin() + (k + 1) * chunk);
          if (bos) wanted[0] = 1;
          const auto ids = WindowIds(text, starts[k], chunk, bos ? std::optional<int32_t>(1) : std::nullopt);
          EXPECT_EQ(ids, wanted);
          const SegmentInfo segment{.text = "a",
                                    .text_sha256_prefix = "0",
                                    .context_tokens = ChunkContext(chunk),
                                    .n_steps = ChunkSteps(chunk)};
          const auto steps = StepIds(ids, segment);
          EXPECT_EQ(steps.data() - ids.data(), chunk / 2);
          EXPECT_EQ(&steps.back(), &ids.back());
          EXPECT_EQ(static_cast<int64_t>(steps.size()) - 1, (chunk - 2) - chunk / 2 + 1) << "C/2 .. C-2 are fed";
        }
      }
    }
  }
  EXPECT_EQ(ChunkSteps(512), 255);
  EXPECT_EQ(ChunkStarts(2047, true, 512, 0), (Starts{-1, 511, 1023, 1535}));
  EXPECT_EQ(ChunkStarts(2047, true, 512, 3).size(), 3u);
  EXPECT_EQ(ChunkStarts(2047, true, 512, 9).size(), 4u);
}

TEST(FidelityWindows, CopyRunsRepeatTheContext) {
  const SegmentInfo window{
      .text = "a.txt", .text_sha256_prefix = "0", .window = 2, .start_token = 77, .context_tokens = 600, .n_steps = 16};
  EXPECT_EQ(Segments(window, false).size(), 1u);
  const auto segments = Segments(window, true);
  ASSERT_EQ(segments.size(), 3u);
  const auto ids = Text(617);
  EXPECT_EQ(StepIds(ids, segments[0]).front(), ids[600]);
  EXPECT_EQ(StepIds(ids, segments[1]).front(), ids[150]);
  EXPECT_EQ(StepIds(ids, segments[2]).front(), ids[300]);
  EXPECT_EQ(StepIds(ids, segments[2]).size(), 129u);
}

// A name stands for the tokens fed: whatever changes them changes it.
TEST(FidelityWindows, NamesSayEverythingThatChangesTheTokens) {
  const SegmentInfo base{
      .text = "a.txt", .text_sha256_prefix = "01", .window = 1, .start_token = 5, .context_tokens = 512, .n_steps = 16};
  std::vector<SegmentInfo> all(7, base);
  all[1].text_sha256_prefix = "02";
  all[2].window = 2;
  all[3].start_token = 6;
  all[4].context_tokens = 513;
  all[5].n_steps = 17;
  all[6].copy_start = 128;
  std::set<std::string> ids, windows;
  for (const SegmentInfo& segment : all) {
    ids.insert(segment.Id());
    windows.insert(segment.WindowId());
  }
  EXPECT_EQ(ids.size(), all.size());
  EXPECT_EQ(windows.size(), all.size() - 2) << "steps and copies are of the same window";
}

}  // namespace
}  // namespace arkvale::tools
