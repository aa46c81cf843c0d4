#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "text/utf8.h"

namespace arkvale {
namespace {

struct Streamed {
  std::vector<std::string> parts;
  std::string text;
  bool stopped = false;
};

Streamed Stream(const std::vector<std::string>& pieces, std::vector<std::string> stops = {}) {
  TextStream stream([&](int32_t id) { return pieces[id]; }, std::move(stops));
  Streamed out;
  for (size_t i = 0; i < pieces.size(); ++i) out.parts.push_back(stream.Push(static_cast<int32_t>(i)));
  out.parts.push_back(stream.Finish());
  out.stopped = stream.stopped();
  for (const std::string& part : out.parts) out.text += part;
  return out;
}

using Parts = std::vector<std::string>;

TEST(TextStream, GivesTextAtOnceWhenNothingIsOpen) {
  EXPECT_EQ(Stream({"Hello", ",", " world"}).parts, (Parts{"Hello", ",", " world", ""}));
}

TEST(TextStream, JoinsCharactersThatTokensCut) {
  EXPECT_EQ(Stream({"a\xF0", "\x9F", "\x98\x80", "\xC3", "\xA4!"}).parts,
            (Parts{"a", "", "\xF0\x9F\x98\x80", "", "\xC3\xA4!", ""}));
}

TEST(TextStream, ReplacesAnUnfinishedTailAndStrayBytes) {
  EXPECT_EQ(Stream({"a", "\xE2\x82"}).parts, (Parts{"a", "", "\xEF\xBF\xBD"}));
  EXPECT_EQ(Stream({"\xE2", "b", "\x80"}).parts, (Parts{"",
                                                        "\xEF\xBF\xBD"
                                                        "b",
                                                        "\xEF\xBF\xBD", ""}));
}

TEST(TextStream, EndsBeforeTheStopString) {
  const Streamed out = Stream({"one ", "two", " three"}, {"two"});
  EXPECT_EQ(out.text, "one ");
  EXPECT_TRUE(out.stopped);
}

TEST(TextStream, HoldsBackOnlyWhatMayBecomeAStop) {
  const Streamed out = Stream({"a\nUs", "e it", "\nUser", ":", "more"}, {"\nUser:"});
  EXPECT_EQ(out.parts, (Parts{"a", "\nUse it", "", "", "", ""}));
  EXPECT_TRUE(out.stopped);
}

TEST(TextStream, GivesHeldTextBackAtTheEnd) {
  const Streamed out = Stream({"x", "STO"}, {"STOP"});
  EXPECT_EQ(out.parts, (Parts{"x", "", "STO"}));
  EXPECT_FALSE(out.stopped);
}

TEST(TextStream, FindsOverlappingStarts) {
  EXPECT_EQ(Stream({"aa", "ab", "z"}, {"aab"}).text, "a");
  EXPECT_EQ(Stream({"abab", "ac"}, {"abac"}).text, "ab");
}

TEST(TextStream, TheStopCompletedFirstWins) {
  EXPECT_EQ(Stream({"xabcd"}, {"abcd", "bc"}).text, "xa");
  EXPECT_EQ(Stream({"xabcd"}, {"c", "abc"}).text, "x");
}

TEST(TextStream, IgnoresEmptyStopsAndTokensAfterAStop) {
  const Streamed none = Stream({"a", "b"}, {""});
  EXPECT_EQ(none.text, "ab");
  EXPECT_FALSE(none.stopped);
  EXPECT_EQ(Stream({"a.", "b.", "c."}, {"."}).parts, (Parts{"a", "", "", ""}));
}

TEST(TextStream, ResultDoesNotDependOnTheCuts) {
  const std::string bytes =
      "abaab \xE2\x82\xAC\xE2\x82 cab\xF0\x9F\x98\x80"
      "abcabcaX\xFF"
      "bcad";
  for (const Parts& stops : {Parts{}, Parts{"abcX"}, Parts{"\xF0\x9F\x98\x80"}, Parts{"caX", "bcabcaX"}}) {
    const Streamed whole = Stream({bytes}, stops);
    Rng rng("text_stream/42");
    for (int round = 0; round < 200; ++round) {
      Parts pieces;
      for (size_t at = 0; at < bytes.size();) {
        const size_t n = 1 + rng.Below(5);
        pieces.push_back(bytes.substr(at, n));
        at += n;
      }
      const Streamed cut = Stream(pieces, stops);
      ASSERT_EQ(cut.text, whole.text);
      ASSERT_EQ(cut.stopped, whole.stopped);
      for (const std::string& part : cut.parts) ASSERT_EQ(FirstInvalidUtf8(part), std::string_view::npos);
    }
  }
}

}  // namespace
}  // namespace arkvale
