// TextStream: turns the tokens of an answer into text as they come. What it returns is always whole, valid UTF-8
// characters, and never a part of a stop string.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace arkvale {

// One answer, one thread. The concatenation of all results does not depend on how the tokens cut the text.
class TextStream {
 public:
  // Bytes of one token; need not be whole characters (Tokenizer::Piece).
  using PieceFn = std::function<std::string(int32_t id)>;

  // The answer ends before the first stop string to be completed. Empty ones are ignored.
  TextStream(PieceFn piece, std::vector<std::string> stops);

  // The text that is certain after this token; empty while a character or a possible stop string is unfinished, and
  // after a stop.
  std::string Push(int32_t id);
  // What was held back, with U+FFFD for an unfinished character. Call once, at the end.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  std::string Release();

  PieceFn piece_;
  std::vector<std::string> stops_;
  std::string bytes_;  // start of an unfinished character, at most 3 bytes
  std::string held_;   // whole characters not yet given out
  bool stopped_ = false;
};

}  // namespace arkvale
