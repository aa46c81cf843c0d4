#include "tools/chat/terminal_reader.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <string_view>

#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

constexpr int kHistoryLines = 1000;
constexpr int kPasteGapMs = 10;  // lines that follow each other faster were not typed

struct EditLineDeleter {
  void operator()(EditLine* edit) const { el_end(edit); }
};
struct HistoryDeleter {
  void operator()(History* history) const { history_end(history); }
};

// One byte of the terminal: 1, 0 at its end, -1 on failure and after Ctrl-C.
int ReadByte(unsigned char& byte) {
  for (;;) {
    if (g_cancel) return -1;
    const ssize_t n = read(STDIN_FILENO, &byte, 1);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR) return -1;
  }
}

// libedit's own reader tries again after a signal, so that Ctrl-C would wait for a key.
int ReadCharacter(EditLine*, wchar_t* out) {
  unsigned char byte = 0;
  if (const int n = ReadByte(byte); n != 1) return n;
  int more = 0;
  if ((byte & 0xe0) == 0xc0) more = 1;
  if ((byte & 0xf0) == 0xe0) more = 2;
  if ((byte & 0xf8) == 0xf0) more = 3;
  auto code = static_cast<wchar_t>(more == 0 ? byte : byte & (0x3f >> more));
  for (; more > 0; --more) {
    if (const int n = ReadByte(byte); n != 1) return n;
    code = code << 6 | (byte & 0x3f);
  }
  *out = code;
  return 1;
}

class TerminalReader : public LineReader {
 public:
  bool Open() {
    // libedit needs a UTF-8 locale to draw characters.
    if (std::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) std::setlocale(LC_CTYPE, "");
    edit_.reset(el_init("arkvale", stdin, isatty(STDOUT_FILENO) == 1 ? stdout : stderr, stderr));
    history_.reset(history_init());
    if (edit_ == nullptr || history_ == nullptr) return false;
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    el_set(edit_.get(), EL_CLIENTDATA, this);
    el_set(edit_.get(), EL_EDITOR, "emacs");
    el_set(edit_.get(), EL_PROMPT, Prompt);
    el_set(edit_.get(), EL_HIST, history, history_.get());
    el_set(edit_.get(), EL_GETCFN, ReadCharacter);
    return true;
  }

  Result<std::optional<std::string>> Read(bool goes_on) override {
    goes_on_ = goes_on;
    int length = 0;
    const char* text = el_gets(edit_.get(), &length);
    if (text == nullptr || length <= 0) {
      std::fputc('\n', stderr);  // the prompt's line
      if (g_cancel) return Cancelled("interrupted");
      return std::optional<std::string>();
    }
    std::string line(text, static_cast<size_t>(length));
    if (line.ends_with('\n')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_.get(), &event, H_ENTER, line.c_str());
    return std::optional(std::move(line));
  }

  bool More() const override {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    return poll(&input, 1, kPasteGapMs) == 1 && (input.revents & POLLIN) != 0;
  }

  bool interactive() const override { return true; }

 private:
  static const char* Prompt(EditLine* edit) {
    TerminalReader* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->goes_on_ ? "| " : "> ";
  }

  std::unique_ptr<History, HistoryDeleter> history_;  // outlives edit_
  std::unique_ptr<EditLine, EditLineDeleter> edit_;
  bool goes_on_ = false;
};

}  // namespace

std::unique_ptr<LineReader> MakeTerminalReader() {
  auto reader = std::make_unique<TerminalReader>();
  if (!reader->Open()) return nullptr;
  return reader;
}

}  // namespace arkvale::tools
