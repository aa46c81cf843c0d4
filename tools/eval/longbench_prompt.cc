#include "tools/eval/longbench_prompt.h"

#include <algorithm>
#include <utility>

#include "engine/prompt.h"

namespace arkvale::tools {
namespace {

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Bytes of the character that this one begins.
size_t CharacterBytes(char first) {
  const auto byte = static_cast<uint8_t>(first);
  if (byte >= 0xF0) return 4;
  if (byte >= 0xE0) return 3;
  return byte >= 0xC0 ? 2 : 1;
}

// Cuts the middle out of a prompt of more than `max_prompt` tokens.
Status Shorten(const Tokenizer& tokenizer, int64_t max_prompt, FilledPrompt& prompt, bool& truncated) {
  ARKVALE_ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode(prompt.context + prompt.question, true, false));
  const Halves halves = CutMiddle(ids, max_prompt);
  truncated = !halves.last.empty();
  if (!truncated) return OkStatus();
  const std::string first = tokenizer.Decode(halves.first, false), last = tokenizer.Decode(halves.last, false);
  const std::string_view tail = DropCutStart(last);
  if (!tail.ends_with(prompt.question)) {
    return InvalidArgument("the question is longer than the last " + std::to_string(halves.last.size()) +
                           " tokens of the prompt: use a larger --max-prompt");
  }
  prompt.context = DropCutEnd(first);
  prompt.context += tail.substr(0, tail.size() - prompt.question.size());
  return OkStatus();
}

Result<PromptIds> MakeIds(const Tokenizer& tokenizer, FilledPrompt filled, int64_t max_prompt, bool chat,
                          bool& truncated) {
  ARKVALE_RETURN_IF_ERROR(Shorten(tokenizer, max_prompt, filled, truncated));
  GenerateRequest request;
  request.context = std::move(filled.context);
  request.question = std::move(filled.question);
  request.chat = chat;
  return MakePrompt(tokenizer, request);
}

}  // namespace

int64_t DefaultMaxPrompt(int64_t ctx_tokens) {
  switch (ctx_tokens) {
    case 4096: return 3500;
    case 8192: return 7500;
    case 16384: return 15500;
    case 32768: return 31500;
    default: return std::max(ctx_tokens - 1024, ctx_tokens / 2);
  }
}

Result<bool> ResolveChat(const std::string& chat, const Tokenizer& tokenizer) {
  const bool has_template = !tokenizer.chat_template().empty();
  if (chat == "auto") return has_template;
  if (chat == "off") return false;
  if (chat != "on") return InvalidArgument("--chat '" + chat + "' is unknown: use auto, on or off");
  if (!has_template) return InvalidArgument("--chat on: the model has no chat template: use auto or off");
  return true;
}

Halves CutMiddle(std::span<const int32_t> ids, int64_t max_tokens) {
  if (static_cast<int64_t>(ids.size()) <= max_tokens) return {.first = ids, .last = {}};
  const auto half = static_cast<size_t>(max_tokens / 2);
  return {.first = ids.first(half), .last = ids.last(half)};
}

std::string_view DropCutEnd(std::string_view text) {
  size_t start = text.size();
  while (start > 0 && text.size() - start < 3 && IsContinuation(text[start - 1])) --start;
  if (start == 0) return text;
  return CharacterBytes(text[start - 1]) > text.size() - start + 1 ? text.substr(0, start - 1) : text;
}

std::string_view DropCutStart(std::string_view text) {
  const size_t most = std::min<size_t>(3, text.size());
  size_t n_cut = 0;
  while (n_cut < most && IsContinuation(text[n_cut])) ++n_cut;
  return text.substr(n_cut);
}

LongBenchPrompt MakeLongBenchPrompt(const Tokenizer& tokenizer, const LongBenchSet& set, const LongBenchRecord& record,
                                    int64_t max_prompt, bool chat) {
  LongBenchPrompt prompt;
  auto ids = MakeIds(tokenizer, FillTemplate(set.prompt_template, record.context, record.input), max_prompt,
                     chat && set.chat, prompt.truncated);
  if (ids.ok()) {
    prompt.ids.context = std::move(ids->context);
    prompt.ids.question = std::move(ids->question);
  } else {
    prompt.ids.error = ids.status().message();
  }
  return prompt;
}

}  // namespace arkvale::tools
