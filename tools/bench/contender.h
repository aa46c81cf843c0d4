// Contender: one engine under one policy and budget, as the benchmark sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// Steps from the state that SetContext made: each appends one token to every sequence of the batch.
struct DecodeSample {
  std::vector<double> step_ms;         // of each step but the first
  std::vector<int32_t> likeliest_ids;  // the first sequence's argmax after each step: checks that all compute the same
};

// Where the time of a step goes, of a run of its own. Parts in ms, their sum is step_ms. The cache's clocks run in the
// other rounds too: some ten readings of 20 to 30 ns per layer, less than 0.1 % of a step of any model worth timing.
struct Breakdown {
  double estimate_ms = 0, select_ms = 0, recall_ms = 0, attention_ms = 0, other_ms = 0;
  double step_ms = 0;
};

// Names that others are compared with.
inline constexpr const char* kPeerName = "llama.cpp";
inline constexpr const char* kFullName = "arkvale full";

class Contender {
 public:
  virtual ~Contender() = default;

  // Unique in a run: "llama.cpp", "arkvale full", "arkvale 1024".
  virtual std::string name() const = 0;

  // Prefills `ids`, the start of every later decode sample. A context that begins with the last one's ids extends it.
  virtual Status SetContext(std::span<const int32_t> ids) = 0;

  // `batch` copies of the context step together; sequence s is fed StepId(ids, i, s) in step i. Leaves no trace in the
  // context.
  virtual Result<DecodeSample> Decode(std::span<const int32_t> ids, int32_t batch) = 0;
  // Milliseconds from the call with a prompt's ids until the logits of the last one can be read. Ends the context:
  // call SetContext before the next Decode.
  virtual Result<double> Prefill(std::span<const int32_t> ids) = 0;

  // One decode sample more, for its parts; empty where the engine does not tell.
  virtual Result<std::optional<Breakdown>> DecodeParts(std::span<const int32_t> ids, int32_t batch) {
    return std::optional<Breakdown>();
  }

  // A cell begins with a warm-up: its samples decide what can be decided.
  virtual void SetWarmUp(bool on) = 0;
  // What the warm-up decided, for a process that measures this contender's memory. 0 where there is no choice.
  virtual int32_t setting() const { return 0; }

  // Row fields that say which contender this is: engine, policy, budget_tokens (of a plan: the mean of its layers),
  // plan.
  virtual Json Labels() const = 0;
  // Row fields only this engine knows, of the last decode sample or prefill.
  virtual Json DecodeFields(int32_t batch) const = 0;
  virtual Json PrefillFields() const = 0;
  // Bytes that the last decode step had to read (weights once, K, V and digests of each sequence); 0 = not known.
  virtual int64_t StepBytes(int32_t batch) const { return 0; }
};

// Sequences of a batch are fed the same ids, each from another one on, so that their queries differ.
inline int32_t StepId(std::span<const int32_t> ids, size_t step, int32_t sequence) {
  return ids[(step + static_cast<size_t>(sequence)) % ids.size()];
}

}  // namespace arkvale::tools
