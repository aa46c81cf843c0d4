#include "tools/chat/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

// What a pipe with `text` reads as; "END" at its end, the kind of a failure by name.
std::vector<std::string> Messages(const std::string& text, int64_t max_bytes = 100) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(ends[1]);
  const auto reader = MakePlainReader(ends[0], max_bytes);
  EXPECT_FALSE(reader->interactive());
  std::vector<std::string> messages;
  for (;;) {
    const auto message = ReadMessage(*reader);
    messages.push_back(!message.ok()          ? std::string(StatusKindName(message.status().kind()))
                       : message->has_value() ? **message
                                              : "END");
    if (!message.ok() || !message->has_value()) break;
  }
  close(ends[0]);
  return messages;
}

using Strings = std::vector<std::string>;

TEST(ReadMessage, ALineIsAMessage) {
  EXPECT_EQ(Messages("one\ntwo\r\n\nthree"), (Strings{"one", "two", "", "three", "END"}));
  EXPECT_EQ(Messages("one\n"), (Strings{"one", "END"}));
  EXPECT_EQ(Messages(""), (Strings{"END"}));
}

TEST(ReadMessage, ABackslashGoesOn) {
  EXPECT_EQ(Messages("one\\\ntwo\\\nthree\nfour\n"), (Strings{"one\ntwo\nthree", "four", "END"}));
  EXPECT_EQ(Messages("one\\"), (Strings{"one\n", "END"}));
  EXPECT_EQ(Messages("/file a\\\ntwo\n"), (Strings{"/file a\\", "two", "END"})) << "a command is one line";
}

TEST(ReadMessage, EndlessLinesAreRefused) {
  EXPECT_EQ(Messages(std::string(100, 'a') + "\n").front(), std::string(100, 'a'));
  EXPECT_EQ(Messages(std::string(5000, 'a')), (Strings{std::string(StatusKindName(StatusKind::kInvalidArgument))}));
}

TEST(ReadMessage, CtrlCEndsIt) {
  g_cancel = true;
  EXPECT_EQ(Messages("one\n"), (Strings{std::string(StatusKindName(StatusKind::kCancelled))}));
  g_cancel = false;
}

// A terminal whose lines come in groups.
class PastedLines : public LineReader {
 public:
  explicit PastedLines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  Result<std::optional<std::string>> Read(bool) override {
    if (next_ == lines_.size()) return std::optional<std::string>();
    return std::optional(lines_[next_++]);
  }
  bool More() const override { return next_ < lines_.size() && lines_[next_] != "typed"; }
  bool interactive() const override { return true; }

 private:
  std::vector<std::string> lines_;
  size_t next_ = 0;
};

TEST(ReadMessage, PastedLinesAreOneMessage) {
  PastedLines reader({"one", "two", "three", "typed"});
  EXPECT_EQ(**ReadMessage(reader), "one\ntwo\nthree");
  EXPECT_EQ(**ReadMessage(reader), "typed");
  EXPECT_FALSE(ReadMessage(reader)->has_value());
}

}  // namespace
}  // namespace arkvale::tools
