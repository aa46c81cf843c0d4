#include "tools/eval/passkey_text.h"

#include <algorithm>
#include <charconv>

#include "base/rng.h"
#include "tools/eval/fit_size.h"

namespace arkvale::tools {
namespace {

constexpr std::string_view kTask =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
    "about "
    "the important information there.";
constexpr std::string_view kUnit =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr std::string_view kQuestion = "\nWhat is the pass key? The pass key is";

void AddFiller(int64_t n_chars, std::string& text) {
  const size_t end = text.size() + static_cast<size_t>(n_chars);
  while (text.size() < end) (text += kUnit) += ' ';
  text.resize(end);
}

// Tokens of the context, BOS included.
Result<int64_t> ContextTokens(const Tokenizer& tokenizer, const PasskeyRecord& record, int64_t filler_chars) {
  ARKVALE_ASSIGN_OR_RETURN(const auto ids,
                           tokenizer.Encode(PasskeyContext(record.key, record.index, filler_chars), true, false));
  return static_cast<int64_t>(ids.size());
}

Result<int64_t> FitFiller(const Tokenizer& tokenizer, const PasskeyRecord& record) {
  const int64_t limit = record.length_tokens - static_cast<int64_t>(record.question.size()) - kPasskeyAnswerTokens;
  ARKVALE_ASSIGN_OR_RETURN(const int64_t least, ContextTokens(tokenizer, record, 0));
  if (least > limit) {
    return InvalidArgument("length " + std::to_string(record.length_tokens) + " tokens < " +
                           std::to_string(record.length_tokens + least - limit) +
                           ", a passkey record without filler: use longer ones");
  }
  return LargestSizeThatFits(0, 8 * record.length_tokens, limit,
                             [&](int64_t size) { return ContextTokens(tokenizer, record, size); });
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string_view PasskeyQuestion() { return kQuestion; }

std::string_view PasskeyUnit() { return kUnit; }

int64_t PasskeyKey(uint64_t seed, int64_t length_tokens, int32_t index) {
  Rng rng("passkey/" + std::to_string(seed) + "/" + std::to_string(length_tokens) + "/" + std::to_string(index));
  return 1 + static_cast<int64_t>(rng.Below(50000));
}

std::string PasskeyContext(int64_t key, int32_t index, int64_t filler_chars) {
  const int64_t before = filler_chars * index / kPasskeyDepths;
  const std::string number = std::to_string(key);
  std::string text(kTask);
  text += '\n';
  AddFiller(before, text);
  text += "\nThe pass key is " + number + ". Remember it. " + number + " is the pass key.\n";
  AddFiller(filler_chars - before, text);
  return text;
}

Result<PasskeyRecord> MakePasskeyRecord(const Tokenizer& tokenizer, uint64_t seed, int64_t length_tokens, int32_t index,
                                        int64_t filler_chars) {
  PasskeyRecord r;
  r.seed = seed;
  r.length_tokens = length_tokens;
  r.index = index;
  r.filler_chars = filler_chars;
  r.key = PasskeyKey(seed, length_tokens, index);
  ARKVALE_ASSIGN_OR_RETURN(r.question, tokenizer.Encode(kQuestion, false, false));
  if (filler_chars <= 0) {
    ARKVALE_ASSIGN_OR_RETURN(r.filler_chars, FitFiller(tokenizer, r));
  }
  ARKVALE_ASSIGN_OR_RETURN(r.context, tokenizer.Encode(PasskeyContext(r.key, index, r.filler_chars), true, false));
  ARKVALE_ASSIGN_OR_RETURN(const auto answered,
                           tokenizer.Encode(std::string(kQuestion) + " " + std::to_string(r.key), false, false));
  const auto n = static_cast<int64_t>(r.question.size());
  if (answered.size() > r.question.size() && std::equal(r.question.begin(), r.question.end(), answered.begin())) {
    r.answer.assign(answered.begin() + n, answered.end());
  }
  return r;
}

bool PasskeyCorrect(std::string_view text, int64_t key) {
  const auto* begin = std::find_if(text.begin(), text.end(), IsDigit);
  const auto* end = std::find_if_not(begin, text.end(), IsDigit);
  int64_t number = -1;
  const auto [_, error] = std::from_chars(begin, end, number);
  return error == std::errc() && number == key;
}

bool PasskeyStrict(std::span<const int32_t> generated, std::span<const int32_t> answer) {
  return !answer.empty() && generated.size() >= answer.size() &&
         std::equal(answer.begin(), answer.end(), generated.begin());
}

}  // namespace arkvale::tools
