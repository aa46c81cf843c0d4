// Sampler: picks the next token from logits. Greedy at temperature 0, else libllama's chain top-k, top-p, min-p,
// temperature, seeded draw.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "arkvale/engine.h"
#include "arkvale/status.h"

namespace arkvale {

// One sequence, one thread. Equal options and logits give equal tokens.
class Sampler {
 public:
  // InvalidArgument: a negative or non-finite temperature, top_k < 0, top_p or min_p outside [0, 1].
  static Result<std::unique_ptr<Sampler>> Create(const SamplingOptions& options);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // `logits` [n_vocab], not empty. Greedy: the highest logit, the lowest id among equals.
  // Internal: a NaN or infinite logit, which only a broken model or kernel makes.
  Result<int32_t> Sample(std::span<const float> logits);

 private:
  struct Impl;
  explicit Sampler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
