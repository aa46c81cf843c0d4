#include "tools/eval/unicode_text.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

TEST(UnicodeText, DecodesAndReplacesWhatIsNotUtf8) {
  EXPECT_EQ(DecodeUtf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), U"a\u00E9\u20AC\U0001F600");
  EXPECT_EQ(DecodeUtf8(""), U"");
  EXPECT_EQ(DecodeUtf8("a\xFF"
                       "b"),
            U"a\uFFFDb");
  EXPECT_EQ(DecodeUtf8("a\xE2\x82"), U"a\uFFFD") << "cut at the end";
  EXPECT_EQ(ValidUtf8("a\xE2\x82"), "a\xEF\xBF\xBD");
  EXPECT_EQ(ValidUtf8("caf\xC3\xA9"), "caf\xC3\xA9");
}

TEST(UnicodeText, LowerCaseIsTheFullMapping) {
  EXPECT_EQ(LowerCase(U"ABC xyz 123"), U"abc xyz 123");
  EXPECT_EQ(LowerCase(U"\u00C9\u0416\u1E9E\u2160\U00010400"), U"\u00E9\u0436\u00DF\u2170\U00010428");
  EXPECT_EQ(LowerCase(U"\u0130x"), U"i\u0307x");
  EXPECT_EQ(LowerCase(U"\u039F\u03A3 \u03A3\u039F \u03A3"), U"\u03BF\u03C2 \u03C3\u03BF \u03C3");
  EXPECT_EQ(LowerCase(U"\u039F\u03A3'\u039F \u039F\u03A3."), U"\u03BF\u03C3'\u03BF \u03BF\u03C2.");
}

TEST(UnicodeText, KnowsWordCharactersAndWhiteSpace) {
  using namespace std::string_view_literals;
  for (const char32_t c : U"aZ0_\u00E9\u0436\u4E2D\u00B2\u2167\u0661"sv) {
    EXPECT_TRUE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : U" -'\u2019\u201C\u0301\u00A0+"sv) {
    EXPECT_FALSE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : U" \t\n\v\f\r\x1C\x1F\x85\u00A0\u1680\u2003\u2009\u2028\u2029\u202F\u205F\u3000"sv) {
    EXPECT_TRUE(IsWhiteSpace(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : U"a\0\x08\x0E\x1B\x7F\u180E\u200B\uFEFF"sv) {
    EXPECT_FALSE(IsWhiteSpace(c)) << static_cast<uint32_t>(c);
  }
}

TEST(UnicodeText, SplitsAtWhiteSpace) {
  using Words = std::vector<std::u32string_view>;
  EXPECT_EQ(SplitAtWhiteSpace(U" \u2003one\u00A0two\n\n three "), (Words{U"one", U"two", U"three"}));
  EXPECT_EQ(SplitAtWhiteSpace(U"one"), Words{U"one"});
  EXPECT_EQ(SplitAtWhiteSpace(U" \t"), Words{});
  EXPECT_EQ(SplitAtWhiteSpace(U""), Words{});
}

}  // namespace
}  // namespace arkvale::tools
