// The question of a record step by step, and a greedy answer (evaluation protocol 0.3, 0.4).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/session.h"
#include "text/tokenizer.h"

namespace arkvale::tools {

struct Answer {
  std::vector<int32_t> ids;  // no end-of-generation token
  std::string text;          // of the whole list, special tokens left out, not trimmed
  std::string error;         // empty, or why the answer ended: a logit that is NaN or infinite
};

// `session` holds a prompt to the end, with the logits of its last token, and is consumed. `end_id` and `cancel` as
// below.
Result<Answer> DecodeAnswer(const Tokenizer& tokenizer, Session& session, int32_t max_new,
                            const std::atomic<bool>& cancel, int32_t end_id = -1);

// `session` holds the context and is consumed. `question` must not be empty. `end_id` ends an answer that holds a token
// already; -1: none. Cancelled once `cancel` is set.
Result<Answer> AskQuestion(const Tokenizer& tokenizer, Session& session, std::span<const int32_t> question,
                           int32_t max_new, const std::atomic<bool>& cancel, int32_t end_id = -1);

}  // namespace arkvale::tools
