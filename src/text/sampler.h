// Sampler: picks the next token from logits. Greedy at temperature 0, else libllama's chain top-k, top-p, min-p,
// temperature, seeded draw. A grammar is asked about the token that was picked, and only where it refuses about all of
// them: the others are picked from what it allows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "text/tokenizer.h"

namespace arkvale {

// One sequence, one thread. Equal options and logits give equal tokens.
class Sampler {
 public:
  // InvalidArgument: a negative or non-finite temperature, top_k < 0, top_p or min_p outside [0, 1]; a grammar or JSON
  // schema that cannot be used (Grammar::Create). `tokenizer` must outlive the sampler; options without grammar and
  // schema do without.
  static Result<std::unique_ptr<Sampler>> Create(const SamplingOptions& options, const Tokenizer* tokenizer = nullptr);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // `logits` [n_vocab], not empty. Greedy: the highest logit, the lowest id among equals. With a grammar the token
  // counts as the answer's next one; when the grammar is complete only an end of generation is left. InvalidArgument:
  // the grammar allows no token of the vocabulary, or is too ambiguous to follow. Internal: a NaN or infinite logit,
  // which only a broken model or kernel makes.
  Result<int32_t> Sample(std::span<const float> logits);

 private:
  struct Impl;
  Result<int32_t> Pick();
  explicit Sampler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
