// Runtime: what all sequences of a process share: weights, tokenizer, compute threads and the KV cache.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "arkvale/engine.h"
#include "arkvale/status.h"
#include "base/thread_pool.h"
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
  KvCache& cache() { return *cache_; }
  const OpContext& op_context() const { return context_; }
  int32_t threads() const { return pool_.n_threads(); }
  int64_t ctx_tokens() const { return ctx_tokens_; }
  int32_t prefill_chunk() const { return prefill_chunk_; }
  double load_ms() const { return load_ms_; }

 private:
  explicit Runtime(int32_t threads);
  Status LoadModel(const EngineOptions& options);

  ThreadPool pool_;
  Workspace workspace_;
  OpContext context_;
  ModelInfo info_;
  int64_t ctx_tokens_ = 0;
  int32_t prefill_chunk_ = 0;
  double load_ms_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<KvCache> cache_;
};

}  // namespace arkvale
