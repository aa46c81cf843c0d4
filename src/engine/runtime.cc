#include "engine/runtime.h"

#include <string>
#include <utility>

#include "base/clock.h"
#include "base/machine.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

constexpr int32_t kMaxThreads = 1024;

Status CheckOptions(const EngineOptions& o) {
  if (o.threads < 0 || o.threads > kMaxThreads) {
    return InvalidArgument("threads " + std::to_string(o.threads) + " outside 0.." + std::to_string(kMaxThreads) +
                           ": use 0 for one per physical core");
  }
  if (o.ctx_tokens < 0) return InvalidArgument("context of " + std::to_string(o.ctx_tokens) + " tokens < 0");
  if (o.host_limit_bytes < 0) {
    return InvalidArgument("KV memory limit " + std::to_string(o.host_limit_bytes) + " bytes < 0");
  }
  if (o.prefill_chunk < 1) return InvalidArgument("prefill chunk " + std::to_string(o.prefill_chunk) + " tokens < 1");
  return OkStatus();
}

ModelInfo MakeInfo(const std::string& path, const Transformer& transformer, const Tokenizer& tokenizer) {
  const ModelConfig& config = transformer.config();
  return {.path = path,
          .architecture = config.architecture,
          .name = config.name,
          .n_layers = config.n_layers,
          .n_vocab = config.n_vocab,
          .d_model = config.d_model,
          .n_q_heads = config.n_q_heads,
          .n_kv_heads = config.n_kv_heads,
          .head_dim = config.head_dim_k,
          .context_tokens = config.context_tokens,
          .weight_bytes = transformer.weight_bytes(),
          .has_chat_template = !tokenizer.chat_template().empty()};
}

}  // namespace

Runtime::Runtime(int32_t threads)
    : pool_(threads), workspace_(threads), context_{.ops = &CpuOps(), .pool = &pool_, .workspace = &workspace_} {}

Result<std::unique_ptr<Runtime>> Runtime::Load(const EngineOptions& options) {
  const int64_t start_ns = NowNs();
  ARKVALE_RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<Runtime> runtime(new Runtime(options.threads == 0 ? PhysicalCores() : options.threads));
  ARKVALE_RETURN_IF_ERROR(runtime->LoadModel(options));
  runtime->load_ms_ = MsSince(start_ns);
  return runtime;
}

Status Runtime::LoadModel(const EngineOptions& options) {
  ARKVALE_ASSIGN_OR_RETURN(transformer_, Transformer::Load(options.model_path));  // checks the file for all that follow
  ARKVALE_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(options.model_path));
  info_ = MakeInfo(options.model_path, *transformer_, *tokenizer_);
  ctx_tokens_ = options.ctx_tokens == 0 ? info_.context_tokens : options.ctx_tokens;
  if (ctx_tokens_ > info_.context_tokens) {
    return InvalidArgument("context of " + std::to_string(ctx_tokens_) + " tokens > " +
                           std::to_string(info_.context_tokens) + ", what the model was trained for: ask for less");
  }
  prefill_chunk_ = options.prefill_chunk;
  KvCache::Config config;
  config.shape = transformer_->config().kv_shape();
  config.host_limit_bytes = options.host_limit_bytes == 0 ? MemoryBytes() / 2 : options.host_limit_bytes;
  ARKVALE_ASSIGN_OR_RETURN(cache_, KvCache::Make(std::move(config), context_));
  return OkStatus();
}

}  // namespace arkvale
