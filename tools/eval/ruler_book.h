// The sentences of a book, which the `book` haystacks of eval ruler are made of (evaluation protocol 3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace arkvale::tools {

// Runs of space, tab, CR and LF are one space. A sentence ends at `.`, `?` or `!` and closing quotes or brackets after
// it, where a space or the end follows; what remains is the last one. None for a blank text.
std::vector<std::string> BookSentences(std::string_view text);

}  // namespace arkvale::tools
