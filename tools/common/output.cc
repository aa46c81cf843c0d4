#include "tools/common/output.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

namespace arkvale::tools {

Status Output::Write(std::string_view bytes) {
  while (status_.ok() && !bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      closed_ = errno == EPIPE;
      status_ = Internal(std::string("output cannot be written: ") + std::strerror(errno));
    }
  }
  return status_;
}

Output& Stdout() {
  static Output output(STDOUT_FILENO);
  return output;
}

void IgnoreSigpipe() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace arkvale::tools
