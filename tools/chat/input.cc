#include "tools/chat/input.h"

#include <algorithm>
#include <array>
#include <vector>

#include "tools/common/cli.h"

namespace arkvale::tools {
namespace {

struct Command {
  std::string_view name, argument, help;
  InputKind kind;
};

constexpr auto kCommands = std::to_array<Command>({
    {"/file", "PATH", "put the text of a file in front of the next message", InputKind::kFile},
    {"/stats", "", "tokens, memory, recalls and speed so far", InputKind::kStats},
    {"/reset", "", "forget every turn but the system message", InputKind::kReset},
    {"/help", "", "this list", InputKind::kHelp},
    {"/quit", "", "end; so do Ctrl-D, and Ctrl-C twice", InputKind::kQuit},
});

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

Input Unknown(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  const std::string nearest = Nearest(name, names);
  return {InputKind::kUnknown, "unknown command " + name + ": " +
                                   (nearest.empty() ? "see /help" : "did you mean " + nearest + "?") +
                                   " (a message that begins with / needs a space before it)"};
}

}  // namespace

Input ParseInput(std::string_view text) {
  if (Trim(text).empty()) return {};
  if (text.front() != '/') return {InputKind::kMessage, std::string(text)};
  const std::string_view line = Trim(text);
  const std::string name(line.substr(0, line.find_first_of(" \t\n")));
  const std::string_view argument = Trim(line.substr(name.size()));
  const auto* command = std::find_if(kCommands.begin(), kCommands.end(), [&](const auto& c) { return c.name == name; });
  if (command == kCommands.end()) return Unknown(name);
  if (argument.empty() != command->argument.empty()) {
    return {InputKind::kUnknown, command->argument.empty() ? name + " takes no argument"
                                                           : name + " needs a " + std::string(command->argument)};
  }
  return {command->kind, std::string(argument)};
}

std::string CommandHelp() {
  std::string text;
  for (const Command& command : kCommands) {
    std::string line = "  " + std::string(command.name) + " " + std::string(command.argument);
    line.resize(14, ' ');
    text += line + std::string(command.help) + "\n";
  }
  return text + "  A line that ends with \\ goes on in the next one; pasted lines are one message.\n";
}

std::string WithTextBefore(const std::string& text, const std::string& message) {
  if (text.empty()) return message;
  return text + (text.back() == '\n' ? "\n" : "\n\n") + message;
}

}  // namespace arkvale::tools
