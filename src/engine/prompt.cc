#include "engine/prompt.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "text/chat_template.h"

namespace arkvale {
namespace {

using Segments = std::vector<TextSegment>;

// Cuts the user's turn where the question begins: [template's start, context] and [question, template's end].
Result<std::pair<Segments, Segments>> SplitTurn(const Tokenizer& tokenizer, const GenerateRequest& request) {
  const std::array<ChatMessage, 1> messages = {{{"user", request.context + request.question}}};
  ARKVALE_ASSIGN_OR_RETURN(Segments segments, RenderChat(tokenizer.chat_template(), messages, true));
  const auto turn = std::find_if(segments.begin(), segments.end(), [](const auto& s) { return !s.parse_special; });
  if (turn == segments.end()) return InvalidArgument("the context is blank: give a text to ask about");
  // Templates may trim the turn.
  const size_t trimmed = messages[0].content.find(turn->text);
  const size_t cut = std::min(turn->text.size(), request.context.size() - std::min(request.context.size(), trimmed));
  Segments context(segments.begin(), turn);
  context.push_back({turn->text.substr(0, cut)});
  Segments question = {{turn->text.substr(cut)}};
  question.insert(question.end(), turn + 1, segments.end());
  return std::pair(std::move(context), std::move(question));
}

}  // namespace

Result<PromptIds> MakePrompt(const Tokenizer& tokenizer, const GenerateRequest& request) {
  if (request.context.empty()) return InvalidArgument("the prompt is empty: give a context of at least one character");
  PromptIds ids;
  if (!request.chat) {
    ARKVALE_ASSIGN_OR_RETURN(ids.context, tokenizer.Encode(request.context, true, false));
    ARKVALE_ASSIGN_OR_RETURN(ids.question, tokenizer.Encode(request.question, false, false));
    return ids;
  }
  if (tokenizer.chat_template().empty()) {
    return InvalidArgument("the model has no chat template: ask without chat, or use an instruction-tuned model");
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto parts, SplitTurn(tokenizer, request));
  ARKVALE_ASSIGN_OR_RETURN(ids.context, tokenizer.EncodeSegments(parts.first, true));
  ARKVALE_ASSIGN_OR_RETURN(ids.question, tokenizer.EncodeSegments(parts.second, false));
  if (request.question.empty()) {
    ids.context.insert(ids.context.end(), ids.question.begin(), ids.question.end());
    ids.question.clear();
  }
  return ids;
}

}  // namespace arkvale
