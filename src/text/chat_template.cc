#include "text/chat_template.h"

#include <llama.h>

#include <string_view>

namespace arkvale {
namespace {

constexpr std::string_view kSpaces = " \t\n\v\f\r";

// Stands for content i while libllama renders. The form feeds show whether the template trims: none writes them.
std::string Placeholder(size_t i) { return "\f\x01" + std::to_string(i) + "\x02\f"; }

Result<std::string> Render(const std::string& chat_template, std::span<const ChatMessage> messages, bool open_answer) {
  std::vector<std::string> contents;
  std::vector<llama_chat_message> chat;
  contents.reserve(messages.size());
  for (const ChatMessage& message : messages) {
    contents.push_back(Placeholder(contents.size()));
    chat.push_back({message.role.c_str(), contents.back().c_str()});
  }
  std::string text(1024, '\0');
  for (;;) {
    const int32_t length = llama_chat_apply_template(chat_template.c_str(), chat.data(), chat.size(), open_answer,
                                                     text.data(), static_cast<int32_t>(text.size()));
    if (length < 0) {
      return InvalidArgument("the model's chat template is of no known format: use raw text instead of chat");
    }
    const bool complete = static_cast<size_t>(length) <= text.size();
    text.resize(length);
    if (complete) return text;
  }
}

std::string TrimLeft(std::string text) {
  text.erase(0, text.find_first_not_of(kSpaces));
  return text;
}

std::string TrimRight(std::string text) {
  text.erase(text.find_last_not_of(kSpaces) + 1);
  return text;
}

}  // namespace

Result<std::vector<TextSegment>> RenderChat(const std::string& chat_template, std::span<const ChatMessage> messages,
                                            bool open_answer) {
  if (messages.empty()) return InvalidArgument("a chat needs at least one message");
  if (chat_template.empty()) return InvalidArgument("the model has no chat template: use raw text instead of chat");
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      return InvalidArgument("unknown role '" + message.role + "': use system, user or assistant");
    }
  }
  ARKVALE_ASSIGN_OR_RETURN(const std::string rendered, Render(chat_template, messages, open_answer));

  std::vector<TextSegment> segments;
  const auto add_piece = [&](std::string_view piece) {
    if (!piece.empty()) segments.push_back({std::string(piece), true});
  };
  size_t done = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string whole = Placeholder(i);
    const std::string core = whole.substr(1, whole.size() - 2);
    size_t begin = rendered.find(core, done);
    if (begin == std::string::npos) {
      return InvalidArgument("the model's chat template leaves out message " + std::to_string(i + 1) + " (role " +
                             messages[i].role + ")");
    }
    size_t end = begin + core.size();
    std::string content = messages[i].content;
    if (begin > done && rendered[begin - 1] == '\f') {
      --begin;
    } else {
      content = TrimLeft(std::move(content));
    }
    if (end < rendered.size() && rendered[end] == '\f') {
      ++end;
    } else {
      content = TrimRight(std::move(content));
    }
    add_piece(std::string_view(rendered).substr(done, begin - done));
    segments.push_back({std::move(content), false});
    done = end;
  }
  add_piece(std::string_view(rendered).substr(done));
  return segments;
}

}  // namespace arkvale
