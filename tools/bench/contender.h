// Contender: one engine under one policy and budget, as the benchmark sees it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// Steps fed one token at a time from the state that SetContext made.
struct DecodeSample {
  std::vector<double> step_ms;         // of each step but the first
  std::vector<int32_t> likeliest_ids;  // argmax after each step, first included: checks that all compute the same thing
};

class Contender {
 public:
  virtual ~Contender() = default;

  // Unique in a run: "llama.cpp", "arkvale full", "arkvale 1024".
  virtual std::string name() const = 0;

  // Prefills `ids`, the start of every later decode sample. A context that begins with the last one's ids extends it.
  virtual Status SetContext(std::span<const int32_t> ids) = 0;

  // Leaves no trace in the context.
  virtual Result<DecodeSample> Decode(std::span<const int32_t> ids) = 0;
  // Milliseconds from the call with a prompt's ids until the logits of the last one can be read. Ends the context:
  // call SetContext before the next Decode.
  virtual Result<double> Prefill(std::span<const int32_t> ids) = 0;

  // A cell begins with a warm-up: its samples decide what can be decided, and are forgotten when it ends.
  virtual void SetWarmUp(bool on) = 0;

  // Row fields that say which contender this is: engine, policy, budget_tokens.
  virtual Json Labels() const = 0;
  // Row fields only this engine knows, over the decode samples since the warm-up.
  virtual Json DecodeFields(double step_ms_median) const = 0;
  virtual Json PrefillFields() const = 0;
};

}  // namespace arkvale::tools
