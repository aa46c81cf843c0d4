#include "text/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace arkvale {
namespace {

using std::string_literals::operator""s;

std::string Sanitised(std::string_view bytes, size_t* used = nullptr) {
  std::string out;
  const size_t n = AppendValidUtf8(bytes, out);
  if (used != nullptr) *used = n;
  return out;
}

TEST(Utf8, AcceptsEveryBorderOfTheTable) {
  const std::vector<std::string> characters = {"\0"s,
                                               "\x7F",
                                               "\xC2\x80",
                                               "\xDF\xBF",
                                               "\xE0\xA0\x80",
                                               "\xEC\xBF\xBF",
                                               "\xED\x80\x80",
                                               "\xED\x9F\xBF",
                                               "\xEE\x80\x80",
                                               "\xEF\xBF\xBF",
                                               "\xF0\x90\x80\x80",
                                               "\xF3\xBF\xBF\xBF",
                                               "\xF4\x8F\xBF\xBF"};
  std::string all;
  for (const std::string& c : characters) {
    EXPECT_EQ(FirstInvalidUtf8(c), std::string_view::npos);
    EXPECT_EQ(Sanitised(c), c);
    all += c;
  }
  EXPECT_EQ(FirstInvalidUtf8(all), std::string_view::npos);
  EXPECT_EQ(FirstInvalidUtf8(""), std::string_view::npos);
}

TEST(Utf8, RefusesEveryBorderOutsideTheTable) {
  const std::vector<std::string> bad = {
      "\x80",         "\xBF",         "\xC0\x80",     "\xC1\xBF",         "\xC2\x7F",         "\xC2\xC0",
      "\xE0\x9F\xBF", "\xE1\x80\x7F", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
      "\xFF",         "\xC2",         "\xE1\x80",     "\xF1\x80\x80"};
  for (const std::string& b : bad) EXPECT_EQ(FirstInvalidUtf8(b), 0u) << testing::PrintToString(b);
}

TEST(Utf8, GivesTheOffsetAtEveryAlignment) {
  for (size_t before = 0; before < 40; ++before) {
    std::string text(before, 'a');
    EXPECT_EQ(FirstInvalidUtf8(text + "\xFFzzzzzzzzzzzzzzzzz"), before);
    EXPECT_EQ(FirstInvalidUtf8(text + "\xC3\xA4" + "\xC3"), before + 2);
  }
}

TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(Sanitised("a\xFF"
                      "b"),
            "a" + r + "b");
  EXPECT_EQ(Sanitised("\x80\x80"), r + r);
  // The example of the Unicode standard, table 3-8.
  EXPECT_EQ(Sanitised("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(FirstInvalidUtf8(Sanitised("\xED\xA0\x80\xF4\x90\x80\x80")), std::string_view::npos);
}

TEST(Utf8, LeavesAnUnfinishedCharacterAlone) {
  size_t used = 0;
  for (const std::string& tail : {"\xC3"s, "\xE2\x82"s, "\xF0\x9F\x98"s}) {
    EXPECT_EQ(Sanitised("ab" + tail, &used), "ab");
    EXPECT_EQ(used, 2u);
  }
  EXPECT_EQ(Sanitised("ab\xE0\x80", &used),
            "ab" + std::string(kReplacementCharacter) + std::string(kReplacementCharacter));
  EXPECT_EQ(used, 4u);
}

}  // namespace
}  // namespace arkvale
