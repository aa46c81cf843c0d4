// Texts as code points, and what metrics ask of a character (Unicode 14, by utf8proc; no locale has a say).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace arkvale::tools {

// Bytes that are not UTF-8 become U+FFFD.
std::string ValidUtf8(std::string_view bytes);
std::u32string DecodeUtf8(std::string_view bytes);

// The full mapping: U+0130 becomes two characters, a capital sigma at a word's end the final one.
std::u32string LowerCase(std::u32string_view text);

// Letters, numbers and '_'.
bool IsWordCharacter(char32_t c);
// What Python's str.split() takes for white space: U+001C..U+001F, U+00A0 and U+2003 too.
bool IsWhiteSpace(char32_t c);
// The runs between white space; none is empty.
std::vector<std::u32string_view> SplitAtWhiteSpace(std::u32string_view text);

}  // namespace arkvale::tools
