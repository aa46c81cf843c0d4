// Transcript: the messages of a conversation and the ids they have in the model's chat template. An answer keeps the
// ids that were generated: it is never tokenised again.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace arkvale {

// Whether the segment is the whole content of an answer, spaces at its ends aside: then the answer's own ids stand for
// it. A template may also leave out parts, as it does with old thoughts.
bool IsWholeAnswer(const TextSegment& segment, std::span<const ChatMessage> messages);

// One thread. `tokenizer` and `chat_template` must outlive it.
class Transcript {
 public:
  // `system` may be empty: no system message.
  Transcript(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::string& system);

  void AddQuestion(std::string text);
  // Takes back the last question if it has no answer.
  void DropOpenQuestion();
  void AddAnswer(std::string text, std::vector<int32_t> ids);
  // Forgets all but the system message.
  void Clear();

  // The whole conversation, ready for the next answer. InvalidArgument: invalid UTF-8, or a template that cannot write
  // the conversation.
  Result<std::vector<int32_t>> Render();

 private:
  struct Encoded {
    TextSegment segment;
    std::vector<int32_t> ids;
  };
  const std::vector<int32_t>* FindEncoded(size_t i, const TextSegment& segment) const;

  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_template_;
  std::vector<ChatMessage> messages_;
  std::vector<std::vector<int32_t>> answer_ids_;  // per message; empty for questions and the system message
  std::vector<Encoded> encoded_;                  // the last rendering: long texts are tokenised once
};

}  // namespace arkvale
