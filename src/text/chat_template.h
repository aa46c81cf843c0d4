// Renders a conversation by the model's own chat template: Jinja, executed by llama.cpp's engine (jinja.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

// A template and what it needs to know of the vocabulary (Tokenizer::chat_template()).
struct ChatTemplate {
  std::string source;     // Jinja; empty: the model has none
  std::string bos, eos;   // names of these tokens, empty where the vocabulary has none
  bool adds_bos = false;  // the tokenizer puts BOS first: one that the template writes first is left out

  bool empty() const { return source.empty(); }
};

// A piece of a prompt that is tokenised by itself.
struct TextSegment {
  std::string text;
  // True for pieces of the template, whose markers are special tokens. False for contents: a document that quotes
  // "<|im_end|>" must not end its turn.
  bool parse_special = false;
  int32_t message = -1;  // index of the message whose content it is; -1: the template's
};

// The conversation as the template writes it, default system texts included; no segment is empty. What the template
// makes of a content, by whatever means (trimming, cutting, joining), stays a content: a text made of both template and
// content is all content. A content that is written as it is, but for spaces at its ends, is one segment.
// `open_answer` adds the marker after which the assistant speaks.
// InvalidArgument: no messages, an unknown role, no template; a template that is not valid, raises an exception (its
// text is quoted), goes beyond the limits of jinja.h, or writes nothing of a system or user message that is not blank.
Result<std::vector<TextSegment>> RenderChat(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                            bool open_answer);

}  // namespace arkvale
