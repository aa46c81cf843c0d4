// Grammar: what an answer may be, in llama.cpp's GBNF or as a JSON schema, which llama.cpp turns into GBNF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "text/tokenizer.h"

struct llama_token_data;

namespace arkvale {

inline constexpr size_t kMaxGrammarBytes = 256 << 10;
inline constexpr size_t kMaxSchemaBytes = 64 << 10;

// How far one answer has come in its grammar. One thread; the tokenizer must outlive it.
class Grammar {
 public:
  // Null where `options` asks for none. InvalidArgument: both asked for, a grammar or schema that llama.cpp refuses or
  // could only follow in part (its reason and the place are quoted), more bytes than the limits.
  static Result<std::unique_ptr<Grammar>> Create(const SamplingOptions& options, const Tokenizer& tokenizer);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // Whether the token may come next. End of generation: only when the grammar is complete; other control tokens: never,
  // they have no text. InvalidArgument: the grammar is too ambiguous to follow.
  Result<bool> Allows(int32_t id) const;
  // Gives the candidates that may not come next the logit -infinity. Errors as Allows.
  Status Restrict(std::span<llama_token_data> candidates) const;
  // `id` must be allowed. Errors as Allows.
  Status Accept(int32_t id);

 private:
  struct Impl;
  explicit Grammar(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
