// From a LongBench record to the ids that every policy is fed (evaluation protocol 2.2).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "tools/eval/longbench_records.h"
#include "tools/eval/longbench_sets.h"
#include "tools/eval/record_runner.h"

namespace arkvale::tools {

// The benchmark's longest prompt for a model of this many tokens.
int64_t DefaultMaxPrompt(int64_t ctx_tokens);

// --chat: whether prompts are wrapped in the model's chat template. InvalidArgument for a word that is none of auto, on
// and off, and for on where the model has no template.
Result<bool> ResolveChat(const std::string& chat, const Tokenizer& tokenizer);

// The first and the last max_tokens / 2 of `ids`; all in `first` where there are no more than max_tokens.
struct Halves {
  std::span<const int32_t> first, last;
};
Halves CutMiddle(std::span<const int32_t> ids, int64_t max_tokens);

// Without the bytes of a character that a cut at its end, or its start, has left incomplete.
std::string_view DropCutEnd(std::string_view text);
std::string_view DropCutStart(std::string_view text);

struct LongBenchPrompt {
  RecordPrompt ids;
  bool truncated = false;  // its middle was cut
};

// Fills the set's template, cuts the middle where the prompt is longer than `max_prompt` tokens with BOS, and wraps it
// as one user turn where `chat` is set. The prompt has an error where the cut reaches the question, or where no ids can
// be made of the text.
LongBenchPrompt MakeLongBenchPrompt(const Tokenizer& tokenizer, const LongBenchSet& set, const LongBenchRecord& record,
                                    int64_t max_prompt, bool chat);

}  // namespace arkvale::tools
