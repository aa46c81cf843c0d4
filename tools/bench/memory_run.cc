#include "tools/bench/memory_run.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "tools/common/cli.h"
#include "tools/common/exit_code.h"
#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

// A pipe whose ends close themselves.
class Pipe {
 public:
  Pipe() { open_ = pipe(ends_.data()) == 0; }
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool open() const { return open_; }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void CloseRead() { Close(ends_[0]); }
  void CloseWrite() { Close(ends_[1]); }

 private:
  static void Close(int& fd) {
    if (fd >= 0) close(std::exchange(fd, -1));
  }
  std::array<int, 2> ends_ = {-1, -1};
  bool open_ = false;
};

// In the child, between fork and exec: only calls that are safe there. Both outputs go to the parent.
[[noreturn]] void Exec(char* const* argv, int output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0) execv("/proc/self/exe", argv);
  _exit(kExitOther);
}

// All that the child writes, until it ends. Ctrl-C is passed on, again and again: the first one may come before the
// child has its handler, the second one ends it for sure.
std::string ReadAll(int fd, pid_t child) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    if (g_cancel) kill(child, SIGINT);
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    constexpr int kWaitMs = 100;
    if (poll(&wait, 1, kWaitMs) <= 0) continue;
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n > 0) text.append(buffer.data(), static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) return text;
  }
}

std::string LastLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const size_t newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

Result<int64_t> Outcome(int state, const std::string& line) {
  if (g_cancel) return Cancelled("interrupted");
  const std::string what = "the process that measures memory ";
  if (WIFSIGNALED(state)) {
    const int number = WTERMSIG(state);
    return ResourceExhausted(what + "was ended by signal " + std::to_string(number) + " (" + strsignal(number) +
                             (number == SIGKILL ? ", out of memory?" : "") + ")");
  }
  const int code = WEXITSTATUS(state);
  if (code == kExitInterrupted) return Cancelled("interrupted");
  const std::string ended = what + "ended with " + std::to_string(code) + ": " + line;
  if (code == kExitResource) return ResourceExhausted(ended);
  if (code != kExitDone) return Internal(ended);
  const Json result = Json::parse(line, nullptr, false);
  const auto bytes = result.is_object() ? result.find("rss_peak_bytes") : result.end();
  if (!result.is_object() || bytes == result.end()) return Internal(what + "printed no result: " + line);
  return bytes->get<int64_t>();
}

}  // namespace

std::string MemoryRun::ToString() const {
  return std::to_string(cell) + "," + std::to_string(contender) + "," + std::to_string(setting);
}

Result<MemoryRun> MemoryRun::Parse(const std::string& text) {
  ARKVALE_ASSIGN_OR_RETURN(const auto numbers, ParseNumbers("--memory-run", text, 0));
  if (numbers.size() != 3) return InvalidArgument("--memory-run '" + text + "': use cell,contender,setting");
  return MemoryRun{.cell = static_cast<size_t>(numbers[0]),
                   .contender = static_cast<size_t>(numbers[1]),
                   .setting = static_cast<int32_t>(numbers[2])};
}

Result<int64_t> RunForMemory(const std::vector<std::string>& args) {
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));  // execv only reads them
  argv.push_back(nullptr);
  Pipe output;
  if (!output.open()) return ResourceExhausted(std::string("no pipe for the memory run: ") + std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) return ResourceExhausted(std::string("no process for the memory run: ") + std::strerror(errno));
  if (child == 0) Exec(argv.data(), output.write_end());
  output.CloseWrite();
  const std::string text = ReadAll(output.read_end(), child);
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
  return Outcome(state, LastLine(text));
}

}  // namespace arkvale::tools
