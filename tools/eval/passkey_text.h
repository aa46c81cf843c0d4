// Passkey records (evaluation protocol 1): a number hidden in filler, and the rules that judge an answer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"
#include "text/tokenizer.h"

namespace arkvale::tools {

inline constexpr int32_t kPasskeyDepths = 20;        // record i hides its key at i / 20 of the filler
inline constexpr int32_t kPasskeyAnswerTokens = 16;  // that a record's length leaves room for

// Fed token by token after the context.
std::string_view PasskeyQuestion();

// 89 characters of filler, which is this and a space again and again.
std::string_view PasskeyUnit();

// Rng "passkey/{seed}/{length}/{index}" draws it from 1..50000.
int64_t PasskeyKey(uint64_t seed, int64_t length_tokens, int32_t index);

// The text before the question with `filler_chars` characters of filler, key line included.
std::string PasskeyContext(int64_t key, int32_t index, int64_t filler_chars);

struct PasskeyRecord {
  uint64_t seed = 42;
  int64_t length_tokens = 0;  // T: bounds context + question + answer
  int32_t index = 0;          // of kPasskeyDepths
  int64_t key = 0;
  int64_t filler_chars = 0;
  std::vector<int32_t> context;   // BOS first where the vocabulary adds it
  std::vector<int32_t> question;  // no BOS
  std::vector<int32_t> answer;    // what the strict rule wants; empty where the question's ids depend on what follows

  double depth() const { return static_cast<double>(index) / kPasskeyDepths; }
};

// The longest record of at most T tokens, found by bisection over real token counts; `filler_chars` > 0 fixes the
// filler instead, and T then only names the key. InvalidArgument where not even the empty filler fits.
Result<PasskeyRecord> MakePasskeyRecord(const Tokenizer& tokenizer, uint64_t seed, int64_t length_tokens, int32_t index,
                                        int64_t filler_chars);

// Quest's rule: the first run of ASCII digits, read as an integer, is the key.
bool PasskeyCorrect(std::string_view text, int64_t key);

// ArkVale's rule: the generated ids begin with `answer`, which is not empty.
bool PasskeyStrict(std::span<const int32_t> generated, std::span<const int32_t> answer);

}  // namespace arkvale::tools
