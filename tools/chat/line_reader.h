// LineReader: where messages come from: a terminal with line editing and history, or lines of a pipe or file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "arkvale/status.h"

namespace arkvale::tools {

class LineReader {
 public:
  virtual ~LineReader() = default;

  // The next line without its end; nullopt at the end of the input. Cancelled after Ctrl-C, InvalidArgument for a line
  // longer than the reader takes. `goes_on`: the line continues a message.
  virtual Result<std::optional<std::string>> Read(bool goes_on) = 0;
  // Whether another line has come together with the last one, as in a paste.
  virtual bool More() const = 0;
  virtual bool interactive() const = 0;
};

// For the process's standard input. Lines of a pipe may have `max_bytes` at most.
std::unique_ptr<LineReader> MakeLineReader(int64_t max_bytes);

// Lines of `fd`.
std::unique_ptr<LineReader> MakePlainReader(int fd, int64_t max_bytes);

// One message: lines are joined while they end with a backslash or More; a command (/...) is one line. nullopt at the
// end of the input.
Result<std::optional<std::string>> ReadMessage(LineReader& reader);

}  // namespace arkvale::tools
