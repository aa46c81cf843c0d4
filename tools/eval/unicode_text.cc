#include "tools/eval/unicode_text.h"

#include <utf8proc.h>

#include "text/utf8.h"

namespace arkvale::tools {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3, kSigma = 0x3C3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kDotAbove = 0x307;

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool IsCased(char32_t c) {
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

// Unicode's Case_Ignorable: marks, formats, modifiers, and the punctuation that stands inside words.
bool IsCaseIgnorable(char32_t c) {
  constexpr std::u32string_view kInsideWords = U"'.:\u00B7\u2018\u2019\u2024\u2027";
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return kInsideWords.find(c) != std::u32string_view::npos;
  }
}

// Unicode 3.13, Final_Sigma: a cased letter before, none after, ignorable characters between.
bool EndsWord(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && IsCaseIgnorable(text[before - 1])) --before;
  if (before == 0 || !IsCased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && IsCaseIgnorable(text[after])) ++after;
  return after == text.size() || !IsCased(text[after]);
}

}  // namespace

std::string ValidUtf8(std::string_view bytes) {
  std::string text;
  if (AppendValidUtf8(bytes, text) < bytes.size()) text += kReplacementCharacter;
  return text;
}

std::u32string DecodeUtf8(std::string_view bytes) {
  const std::string text = ValidUtf8(bytes);
  std::u32string characters;
  characters.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t c = 0;
    i += static_cast<size_t>(utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + i,
                                              static_cast<utf8proc_ssize_t>(text.size() - i), &c));
    characters.push_back(static_cast<char32_t>(c));
  }
  return characters;
}

std::u32string LowerCase(std::u32string_view text) {
  std::u32string lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == kCapitalSigma) {
      lower.push_back(EndsWord(text, i) ? kFinalSigma : kSigma);
    } else if (text[i] == kCapitalDottedI) {
      (lower += U'i') += kDotAbove;
    } else {
      lower.push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(text[i]))));
    }
  }
  return lower;
}

bool IsWordCharacter(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return true;
    default: return c == U'_';
  }
}

bool IsWhiteSpace(char32_t c) {
  const bool control = (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85;
  if (c < 0x80 || control) return control || c == U' ';
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

std::vector<std::u32string_view> SplitAtWhiteSpace(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && !IsWhiteSpace(text[end])) ++end;
    if (end > i) words.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

}  // namespace arkvale::tools
