// What a user typed: a message or a command.
#pragma once

#include <string>
#include <string_view>

namespace arkvale::tools {

enum class InputKind { kEmpty, kMessage, kFile, kStats, kReset, kHelp, kQuit, kUnknown };

struct Input {
  InputKind kind = InputKind::kEmpty;
  std::string text;  // the message; the path of /file; what to say about an unknown command
};

// A text that begins with / is a command; a message that does so too is written with a space before it.
Input ParseInput(std::string_view text);

// The list of commands, one a line.
std::string CommandHelp();

// `text` in front of `message`, a blank line between them.
std::string WithTextBefore(const std::string& text, const std::string& message);

}  // namespace arkvale::tools
