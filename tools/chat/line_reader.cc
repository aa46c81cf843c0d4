#include "tools/chat/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "tools/chat/terminal_reader.h"
#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

class PlainReader : public LineReader {
 public:
  PlainReader(int fd, int64_t max_bytes) : fd_(fd), max_bytes_(static_cast<size_t>(max_bytes)) {}

  Result<std::optional<std::string>> Read(bool) override {
    size_t searched = 0;
    for (;;) {
      if (const size_t end = held_.find('\n', searched); end != std::string::npos) return Take(end, end + 1);
      searched = held_.size();
      if (searched > max_bytes_) {
        return InvalidArgument("a line of more than " + std::to_string(max_bytes_) +
                               " bytes cannot fit the context: shorten the input");
      }
      if (at_end_) return held_.empty() ? std::optional<std::string>() : Take(searched, searched);
      ARKVALE_RETURN_IF_ERROR(Fill());
    }
  }

  bool More() const override { return false; }
  bool interactive() const override { return false; }

 private:
  std::optional<std::string> Take(size_t length, size_t consumed) {
    std::string line = held_.substr(0, length);
    held_.erase(0, consumed);
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }

  Status Fill() {
    constexpr size_t kChunkBytes = 1 << 16;
    const size_t size = held_.size();
    held_.resize(size + kChunkBytes);
    const ssize_t n = g_cancel ? -1 : read(fd_, held_.data() + size, kChunkBytes);
    held_.resize(size + (n > 0 ? static_cast<size_t>(n) : 0));
    if (g_cancel) return Cancelled("interrupted");
    if (n < 0 && errno != EINTR)
      return NotFound(std::string("standard input: cannot be read: ") + std::strerror(errno));
    at_end_ = n == 0;
    return OkStatus();
  }

  const int fd_;
  const size_t max_bytes_;
  std::string held_;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<LineReader> MakeLineReader(int64_t max_bytes) {
  if (isatty(STDIN_FILENO) == 1) {
    if (auto terminal = MakeTerminalReader()) return terminal;
  }
  return MakePlainReader(STDIN_FILENO, max_bytes);
}

std::unique_ptr<LineReader> MakePlainReader(int fd, int64_t max_bytes) {
  return std::make_unique<PlainReader>(fd, max_bytes);
}

Result<std::optional<std::string>> ReadMessage(LineReader& reader) {
  std::string message;
  for (bool goes_on = false;; goes_on = true) {
    ARKVALE_ASSIGN_OR_RETURN(std::optional<std::string> line, reader.Read(goes_on));
    if (!line) return goes_on ? std::optional(std::move(message)) : std::nullopt;
    if (!goes_on && line->starts_with('/')) return line;
    const bool continued = line->ends_with('\\');
    if (continued) line->pop_back();
    message += *line;
    if (!continued && !reader.More()) return std::optional(std::move(message));
    message += '\n';
  }
}

}  // namespace arkvale::tools
