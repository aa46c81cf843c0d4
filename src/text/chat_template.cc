#include "text/chat_template.h"

#include <string_view>

#include "text/jinja.h"

namespace arkvale {
namespace {

constexpr std::string_view kSpaces = " \t\n\v\f\r";

Status CheckMessages(const ChatTemplate& chat_template, std::span<const ChatMessage> messages) {
  if (messages.empty()) return InvalidArgument("a chat needs at least one message");
  if (chat_template.empty()) return InvalidArgument("the model has no chat template: use raw text instead of chat");
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      return InvalidArgument("unknown role '" + message.role + "': use system, user or assistant");
    }
  }
  return OkStatus();
}

void DropLeadingBos(const ChatTemplate& chat_template, std::vector<TextSegment>& segments) {
  if (!chat_template.adds_bos || chat_template.bos.empty() || segments.empty()) return;
  TextSegment& first = segments.front();
  if (!first.parse_special || !first.text.starts_with(chat_template.bos)) return;
  first.text.erase(0, chat_template.bos.size());
  if (first.text.empty()) segments.erase(segments.begin());
}

// Answers of earlier turns may be left out (thinking models do so), what the user says may not.
Status CheckNothingLost(std::span<const TextSegment> segments, std::span<const ChatMessage> messages) {
  std::vector<bool> written(messages.size());
  for (const TextSegment& segment : segments) {
    if (segment.message >= 0) written[segment.message] = true;
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool blank = messages[i].content.find_first_not_of(kSpaces) == std::string::npos;
    if (written[i] || blank || messages[i].role == "assistant") continue;
    return InvalidArgument("the model's chat template leaves out message " + std::to_string(i + 1) + " (role " +
                           messages[i].role + ")");
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<TextSegment>> RenderChat(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                            bool open_answer) {
  ARKVALE_RETURN_IF_ERROR(CheckMessages(chat_template, messages));
  ARKVALE_ASSIGN_OR_RETURN(std::vector<TextSegment> segments, RunJinja(chat_template, messages, open_answer));
  DropLeadingBos(chat_template, segments);
  ARKVALE_RETURN_IF_ERROR(CheckNothingLost(segments, messages));
  return segments;
}

}  // namespace arkvale
