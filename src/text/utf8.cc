#include "text/utf8.h"

#include <cstdint>
#include <cstring>

namespace arkvale {
namespace {

struct Character {
  enum Kind { kValid, kInvalid, kIncomplete } kind;
  size_t length;  // bytes of the character, or of the invalid or incomplete part; >= 1
};

// What starts at text[at]; at < text.size().
Character Classify(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(at);
  if (lead < 0x80) return {Character::kValid, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Character::kInvalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte's range depends on the lead byte.
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {Character::kIncomplete, i};
    if (byte(at + i) < low || byte(at + i) > high) return {Character::kInvalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Character::kValid, length};
}

// First offset >= at whose eight bytes are not all ASCII: books are mostly ASCII.
size_t SkipAscii(std::string_view text, size_t at) {
  uint64_t word;
  while (at + sizeof(word) <= text.size()) {
    std::memcpy(&word, text.data() + at, sizeof(word));
    if (word & 0x8080808080808080ull) break;
    at += sizeof(word);
  }
  return at;
}

}  // namespace

size_t FirstInvalidUtf8(std::string_view text) {
  for (size_t at = SkipAscii(text, 0); at < text.size(); at = SkipAscii(text, at)) {
    const Character c = Classify(text, at);
    if (c.kind != Character::kValid) return at;
    at += c.length;
  }
  return std::string_view::npos;
}

size_t AppendValidUtf8(std::string_view bytes, std::string& out) {
  size_t at = 0;
  while (at < bytes.size()) {
    const Character c = Classify(bytes, at);
    if (c.kind == Character::kIncomplete) break;
    out += c.kind == Character::kValid ? bytes.substr(at, c.length) : kReplacementCharacter;
    at += c.length;
  }
  return at;
}

}  // namespace arkvale
