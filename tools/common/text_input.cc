#include "tools/common/text_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "text/utf8.h"
#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

struct File {
  int fd = -1;
  bool owned = false;
  ~File() {
    if (owned && fd >= 0) close(fd);
  }
};

Status ReadError(const std::string& name) { return NotFound(name + ": cannot be read: " + std::strerror(errno)); }

struct Limit {
  int64_t bytes;
  std::string reason;  // what more bytes cannot do
};

Status TooLong(const std::string& name, const std::string& bytes, const Limit& limit) {
  return InvalidArgument(name + ": " + bytes + " bytes " + limit.reason + ": shorten the input");
}

Status ReadAll(int fd, const std::string& name, const Limit& limit, std::string& text) {
  constexpr size_t kChunkBytes = size_t{1} << 20;
  while (!g_cancel) {
    const size_t size = text.size();
    if (static_cast<int64_t>(size) > limit.bytes) {
      return TooLong(name, "more than " + std::to_string(limit.bytes), limit);
    }
    text.resize(size + kChunkBytes);
    const ssize_t n = read(fd, text.data() + size, kChunkBytes);
    text.resize(size + (n > 0 ? static_cast<size_t>(n) : 0));
    if (n == 0 && !g_cancel) return OkStatus();
    if (n < 0 && errno != EINTR) return ReadError(name);
  }
  return Cancelled("interrupted");
}

Result<std::string> Read(const std::string& path, const Limit& limit) {
  const bool is_stdin = path == "-";
  const std::string name = is_stdin ? "standard input" : path;
  const File file{.fd = is_stdin ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC), .owned = !is_stdin};
  if (file.fd < 0) return ReadError(name);
  struct stat info {};
  if (fstat(file.fd, &info) != 0) return ReadError(name);
  if (S_ISREG(info.st_mode) && info.st_size > limit.bytes) return TooLong(name, std::to_string(info.st_size), limit);
  std::string text;
  ARKVALE_RETURN_IF_ERROR(ReadAll(file.fd, name, limit, text));
  if (const size_t bad = FirstInvalidUtf8(text); bad != std::string_view::npos) {
    return Corrupt(name + ": byte " + std::to_string(bad) + " is not valid UTF-8: convert the file to UTF-8");
  }
  return text;
}

}  // namespace

Result<std::string> ReadText(const std::string& path, int64_t ctx_tokens) {
  return Read(path, {.bytes = ctx_tokens * kMaxBytesPerToken,
                     .reason = "cannot fit a context of " + std::to_string(ctx_tokens) + " tokens"});
}

Result<std::string> ReadRules(const std::string& path) {
  ARKVALE_ASSIGN_OR_RETURN(
      std::string text, Read(path, {.bytes = kMaxRulesBytes, .reason = "> limit " + std::to_string(kMaxRulesBytes)}));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Corrupt(path + ": the file is empty");
  return text;
}

Status CheckUtf8Argument(std::string_view flag, std::string_view text) {
  const size_t bad = FirstInvalidUtf8(text);
  if (bad == std::string_view::npos) return OkStatus();
  return InvalidArgument(std::string(flag) + ": byte " + std::to_string(bad) + " of the argument is not valid UTF-8");
}

}  // namespace arkvale::tools
