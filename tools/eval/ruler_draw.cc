#include "tools/eval/ruler_draw.h"

#include <array>
#include <cstdio>

namespace arkvale::tools {

template <typename Draw>
std::string RulerDraw::Fresh(const Draw& draw) {
  for (;;) {
    std::string text = draw();
    if (used_.insert(text).second) return text;
  }
}

std::string RulerDraw::Syllables(int n) {
  constexpr std::string_view kConsonants = "bcdfghjklmnprstvwz", kVowels = "aeiou";
  std::string word;
  for (int i = 0; i < n; ++i) {
    word += kConsonants[rng.Below(kConsonants.size())];
    word += kVowels[rng.Below(kVowels.size())];
  }
  return word;
}

std::string RulerDraw::FreshKeyWord() {
  return Fresh([this] {
    std::string word = Syllables(2);
    word += '-';
    return word += Syllables(2);
  });
}

std::string RulerDraw::FreshWord() {
  return Fresh([this] { return Syllables(3); });
}

std::string RulerDraw::FreshLetters(char first, size_t n) {
  return Fresh([&] {
    std::string word;
    for (size_t i = 0; i < n; ++i) word += static_cast<char>(first + static_cast<char>(rng.Below(26)));
    return word;
  });
}

std::string RulerDraw::FreshNumber(uint64_t least, uint64_t n) {
  return Fresh([&] { return std::to_string(least + rng.Below(n)); });
}

// Version and variant bits as in RFC 9562, version 4.
std::string RulerDraw::FreshUuid() {
  return Fresh([this] {
    const uint64_t hi = (rng.Next() & ~uint64_t{0xF000}) | 0x4000;
    const uint64_t lo = (rng.Next() & ((uint64_t{1} << 62) - 1)) | (uint64_t{1} << 63);
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%08llx-%04llx-%04llx-%04llx-%012llx",
                  static_cast<unsigned long long>(hi >> 32), static_cast<unsigned long long>(hi >> 16 & 0xFFFF),
                  static_cast<unsigned long long>(hi & 0xFFFF), static_cast<unsigned long long>(lo >> 48),
                  static_cast<unsigned long long>(lo & 0xFFFFFFFFFFFF));
    return std::string(text.data());
  });
}

std::string Join(std::span<const std::string> parts, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

}  // namespace arkvale::tools
