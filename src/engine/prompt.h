// From texts to the ids of the three stages (algorithms 5).
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "text/tokenizer.h"

namespace arkvale {

struct PromptIds {
  std::vector<int32_t> context;   // BOS first if and only if the model adds one
  std::vector<int32_t> question;  // no BOS; the chat template's end is part of it. Empty where no question was asked
};

// The two texts are tokenised apart; pieces of a chat template are tokenised apart from both, and only they may hold
// special tokens. InvalidArgument for an empty context, invalid UTF-8, or `chat` without a template.
Result<PromptIds> MakePrompt(const Tokenizer& tokenizer, const GenerateRequest& request);

}  // namespace arkvale
