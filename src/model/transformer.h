// Transformer: the forward pass of a dense decoder over the paged cache. RunLayer is its unit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "kv/cache.h"
#include "model/config.h"
#include "ops/context.h"

namespace arkvale {

// kLast and kAll of one prefill row may differ in their last bits (batch_plan.h); neither depends on chunks or batches.
enum class LogitsWanted : uint8_t { kNone, kLast, kAll };

// New tokens of one sequence.
struct ForwardItem {
  SeqId seq;
  std::span<const int32_t> tokens;  // one token in phase kStep
  KvPhase phase = KvPhase::kStep;
  LogitsWanted logits = LogitsWanted::kLast;
};

// Weights are memory-mapped, or packed copies of the file's, and immutable; activations belong to the object, so one
// thread at a time may call it.
class Transformer {
 public:
  // Maps the file (or all parts of a split one), checks it (gguf_check.h) and reads its config.
  // NotFound, Corrupt, InvalidArgument (an unsupported architecture or weight type is named).
  static Result<std::unique_ptr<Transformer>> Load(const std::string& path, const RopeOverride& rope = {});
  ~Transformer();

  const ModelConfig& config() const;
  int64_t weight_bytes() const;     // bytes of all tensors in the file
  int64_t step_bytes() const;       // weight bytes one decode step reads
  std::string fingerprint() const;  // of the file (fingerprint.h), computed at each call

  // Copies the matrices into the layout that steps read fastest (packed_weights.h): at most once, before any Forward.
  // Prefill keeps every bit; a step's products are rounded another way.
  // ResourceExhausted: no memory, and all stays as it was.
  Status PackWeights(const OpContext& ctx);
  // Memory that PackWeights takes, 0 where it would do nothing; and what it has taken.
  int64_t packable_bytes() const;
  int64_t packed_bytes() const;

  // Runs Begin .. Commit on `cache`; on any error Abort. `logits` gets the wanted rows in order, [n, n_vocab] f32 (it
  // is resized; items with kLast give one row, kAll one per token). Prefill items and steps may be mixed in one batch.
  // InvalidArgument for a token id outside the vocabulary.
  Status Forward(const OpContext& ctx, KvCache& cache, std::span<const ForwardItem> items, std::vector<float>& logits);

  // An empty sequence of a cache whose shape is one layer of the model.
  struct LayerCache {
    KvCache* cache = nullptr;
    SeqId seq;
  };
  // Called before each layer; what it gave before is not used any more. An error ends the pass.
  using OpenLayer = std::function<Result<LayerCache>(int32_t layer)>;
  // Runs a whole prompt through one layer after the other, in at least one chunk of at most `chunk_tokens`, all of
  // about the same length, and ends with the attention of the last layer: K and V of no more than one layer are alive
  // at a time, but hidden states [ids, d_model] f32 of all tokens are. Every row has the bits that Forward gives it.
  // `progress` is told after each chunk how many of the ids * layers are done; an error of it ends the pass.
  // InvalidArgument: no ids, an id outside the vocabulary, chunk_tokens < 1, a cache of another shape.
  Status ForwardByLayer(const OpContext& ctx, std::span<const int32_t> ids, int64_t chunk_tokens, const OpenLayer& open,
                        const std::function<Status(int64_t done)>& progress = {});

 private:
  struct Impl;
  explicit Transformer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
