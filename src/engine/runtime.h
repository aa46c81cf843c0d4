// Runtime: what all sequences of a process share: weights, tokenizer, compute threads and the KV cache.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "base/thread_pool.h"
#include "engine/memory_check.h"
#include "kv/cache.h"
#include "model/transformer.h"
#include "ops/context.h"
#include "text/tokenizer.h"

namespace arkvale {

// Threads: one call at a time over a Runtime and all its Sessions. Must outlive its Sessions.
class Runtime {
 public:
  // Errors as Engine::Open.
  static Result<std::unique_ptr<Runtime>> Load(const EngineOptions& options);

  const ModelInfo& info() const { return info_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  Transformer& transformer() { return *transformer_; }
  const Transformer& transformer() const { return *transformer_; }
  KvCache& cache() { return *cache_; }
  const KvCache& cache() const { return *cache_; }
  const OpContext& op_context() const { return context_; }
  int32_t threads() const { return pool_.n_threads(); }
  int64_t ctx_tokens() const { return ctx_tokens_; }
  int32_t prefill_chunk() const { return prefill_chunk_; }
  KvType kv_type() const { return kv_type_; }
  double load_ms() const { return load_ms_; }
  // For messages and plan files: what the file calls the model, else the file's own name.
  std::string model_name() const;
  // Of the model's file (model/fingerprint.h), computed at each call.
  std::string fingerprint() const { return transformer_->fingerprint(); }
  MemoryLimits memory_limits() const;

  // ResourceExhausted where a sequence of `n_tokens` tokens (input and longest answer) cannot fit in memory. Call it
  // before the prefill.
  Status CheckFits(int64_t n_tokens) const;
  // `options`, valid for the model; kAutoBudget becomes the largest budget with which such a sequence, running alone,
  // stays within hot_limit_bytes. InvalidArgument: auto without that limit or with budgets of single layers, or what
  // KvOptions::Validate says.
  // ResourceExhausted: no budget fits.
  Result<KvOptions> ResolveBudget(const KvOptions& options, int64_t n_tokens) const;
  // As Engine::ApplyPlan.
  Status ApplyPlan(std::string_view plan_text, KvOptions& options) const;

 private:
  explicit Runtime(int32_t threads);
  Status LoadModel(const EngineOptions& options);
  // Where they fit; otherwise one line of the log says that steps will be slower, or read from the disk.
  void PackWeights(int64_t ram_bytes);

  ThreadPool pool_;
  Workspace workspace_;
  OpContext context_;
  ModelInfo info_;
  int64_t ctx_tokens_ = 0;
  int64_t host_limit_bytes_ = 0;
  int64_t hot_limit_bytes_ = 0;
  int32_t prefill_chunk_ = 0;
  KvType kv_type_ = KvType::kF16;
  double load_ms_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<KvCache> cache_;
};

}  // namespace arkvale
