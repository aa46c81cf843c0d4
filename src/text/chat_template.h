// Renders a conversation by the model's chat template (the formats that libllama recognises; a Jinja template outside
// of them is refused).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

// A piece of a prompt that is tokenised by itself.
struct TextSegment {
  std::string text;
  // True for pieces of the template, whose markers are special tokens. False for contents: a document that quotes
  // "<|im_end|>" must not end its turn.
  bool parse_special = false;
};

// The conversation in order: the template's pieces (none is empty) around each message's content (which may be, and is
// always there: content i is the i-th segment with parse_special false). Content is trimmed where the template trims.
// `open_answer` adds the marker after which the assistant speaks.
// InvalidArgument: no messages, an unknown role, no template, a template that libllama does not recognise or that
// leaves a message out.
Result<std::vector<TextSegment>> RenderChat(const std::string& chat_template, std::span<const ChatMessage> messages,
                                            bool open_answer);

}  // namespace arkvale
