// A chat template run by llama.cpp's Jinja engine, within limits: templates come with model files from anywhere.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "text/chat_template.h"

namespace arkvale {

// The largest templates in use have some 30 KiB and nest 10 blocks.
inline constexpr size_t kMaxTemplateBytes = 256 << 10;
inline constexpr size_t kMaxTemplateNesting = 100;   // blocks in blocks; brackets in brackets
inline constexpr size_t kMaxTagTokens = 4096;        // of one {{ }} or {% %}
inline constexpr size_t kTemplateBudget = 64 << 20;  // units (bytes made; 512 a step) that every rendering may spend,
inline constexpr size_t kMessageBudget = 1 << 20;    // that each message adds,
inline constexpr size_t kContentBudget = 64;         // and each byte of a content

// The rendered pieces in order, neighbours of one kind and message joined; none is empty. Variables as transformers
// sets them: messages, add_generation_prompt, bos_token, eos_token, tools and documents (none). InvalidArgument: what
// RenderChat says of templates.
Result<std::vector<TextSegment>> RunJinja(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                          bool open_answer);

}  // namespace arkvale
