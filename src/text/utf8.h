// UTF-8 as Unicode 15 table 3-7 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace arkvale {

// Offset of the first byte that does not start a whole, valid character; std::string_view::npos when all is valid.
size_t FirstInvalidUtf8(std::string_view text);

// Appends the characters of `bytes` to `out`, with U+FFFD for each maximal invalid part (Unicode 3.9, W3C practice).
// A last character that may still become valid is left alone. Returns the number of bytes used, at least size() - 3.
size_t AppendValidUtf8(std::string_view bytes, std::string& out);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

}  // namespace arkvale
