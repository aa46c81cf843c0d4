#include "tools/eval/ruler_book.h"

#include <array>

namespace arkvale::tools {
namespace {

constexpr std::array<std::string_view, 5> kClosing = {"\"", "'", "\u2019", "\u201d", ")"};

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string WithSingleSpaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (!IsBlank(c)) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// Where what closes a sentence ends, from `begin` on.
size_t AfterClosing(std::string_view text, size_t begin) {
  for (size_t end = begin;;) {
    const size_t before = end;
    for (const std::string_view mark : kClosing) {
      if (text.substr(end).starts_with(mark)) end += mark.size();
    }
    if (end == before) return end;
  }
}

}  // namespace

std::vector<std::string> BookSentences(std::string_view raw) {
  const std::string text = WithSingleSpaces(raw);
  std::vector<std::string> sentences;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '.' && text[i] != '?' && text[i] != '!') continue;
    const size_t end = AfterClosing(text, i + 1);
    if (end < text.size() && text[end] != ' ') continue;
    sentences.push_back(text.substr(begin, end - begin));
    begin = end + 1;
    i = end;
  }
  if (begin < text.size()) sentences.push_back(text.substr(begin));
  return sentences;
}

}  // namespace arkvale::tools
