#include "base/rng.h"

#include <gtest/gtest.h>

namespace arkvale {
namespace {

// Vectors of evaluation protocol section 10.
TEST(Rng, MatchesPublishedVectors) {
  Rng rng("test/42/0/0");
  EXPECT_EQ(rng.state(), 0x88a64e56262482ecull);
  EXPECT_EQ(rng.Next(), 0x11ff12b8be6548e1ull);
  EXPECT_EQ(rng.Next(), 0xf568a473d5bf38dbull);
  EXPECT_EQ(rng.Next(), 0xcc9c150ad2639552ull);
  Rng zero(uint64_t{0});
  EXPECT_EQ(zero.Next(), 0xe220a8397b1dcdafull);
  EXPECT_EQ(zero.Next(), 0x6e789e6aa1b965f4ull);
}

TEST(Rng, ShuffleAndSampleMatchPublishedVectors) {
  Rng rng("test/42/0/0");
  std::vector<int> v = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  rng.Shuffle(v);
  EXPECT_EQ(v, (std::vector<int>{9, 0, 4, 3, 8, 1, 6, 2, 5, 7}));
  EXPECT_EQ(rng.Sample(10, 4), (std::vector<uint64_t>{9, 4, 1, 6}));
}

}  // namespace
}  // namespace arkvale
