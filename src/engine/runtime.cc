#include "engine/runtime.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "base/bad_alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "engine/memory_check.h"
#include "kv/block_pool.h"
#include "kv/hot_bytes.h"
#include "ops/cpu_check.h"
#include "ops/op_table.h"
#include "plan/kv_plan.h"
#include "plan/plan_file.h"

namespace arkvale {
namespace {

constexpr int32_t kMaxThreads = 1024;

DType TypeOf(KvType type) {
  switch (type) {
    case KvType::kF16: return DType::kF16;
    case KvType::kQ8: return DType::kQ8;
    case KvType::kQ4: return DType::kQ4;
  }
  return DType::kF16;
}

Status CheckOptions(const EngineOptions& o) {
  if (o.threads < 0 || o.threads > kMaxThreads) {
    return InvalidArgument("threads " + std::to_string(o.threads) + " outside 0.." + std::to_string(kMaxThreads) +
                           ": use 0 for one per physical core");
  }
  if (o.ctx_tokens < 0) return InvalidArgument("context of " + std::to_string(o.ctx_tokens) + " tokens < 0");
  if (o.host_limit_bytes < 0) {
    return InvalidArgument("KV memory limit " + std::to_string(o.host_limit_bytes) + " bytes < 0");
  }
  if (o.hot_limit_bytes < 0) {
    return InvalidArgument("hot KV memory limit " + std::to_string(o.hot_limit_bytes) + " bytes < 0");
  }
  if (!(o.rope_scale >= 0) || !std::isfinite(o.rope_scale)) {
    return InvalidArgument("rope scale " + std::to_string(o.rope_scale) + ": use a factor > 0, or 0 for the file's");
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
  ARKVALE_RETURN_IF_ERROR(CheckCpu());
  if (KernelsAreScalar()) {
    Log().warn("this CPU has no AVX2: attention and norms run as scalar code, many times slower");
  }
  const int32_t threads = options.threads == 0 ? PhysicalCores() : options.threads;
  try {
    return CatchBadAlloc([&]() -> Result<std::unique_ptr<Runtime>> {
      std::unique_ptr<Runtime> runtime(new Runtime(threads));
      ARKVALE_RETURN_IF_ERROR(runtime->LoadModel(options));
      runtime->load_ms_ = MsSince(start_ns);
      return runtime;
    });
  } catch (const std::system_error& error) {
    return ResourceExhausted("cannot start " + std::to_string(threads) + " threads (" + error.what() +
                             "): use fewer --threads");
  }
}

Status Runtime::LoadModel(const EngineOptions& options) {
  const RopeOverride rope{
      .scaling = options.rope_scaling, .factor = options.rope_scale, .context_tokens = options.ctx_tokens};
  // Checks the file for all that follow.
  ARKVALE_ASSIGN_OR_RETURN(transformer_, Transformer::Load(options.model_path, rope));
  const int64_t ram = MemoryBytes();
  ARKVALE_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(options.model_path));
  info_ = MakeInfo(options.model_path, *transformer_, *tokenizer_);
  ctx_tokens_ = options.ctx_tokens == 0 ? info_.context_tokens : options.ctx_tokens;
  if (ctx_tokens_ > info_.context_tokens) {
    return InvalidArgument("context of " + std::to_string(ctx_tokens_) + " tokens > " +
                           std::to_string(info_.context_tokens) +
                           ", the longest the model allows: ask for less, or stretch it by --rope-scaling yarn "
                           "--rope-scale F");
  }
  PackWeights(ram);
  prefill_chunk_ = options.prefill_chunk;
  host_limit_bytes_ =
      options.host_limit_bytes == 0 ? DefaultHostLimit(transformer_->packed_bytes(), ram) : options.host_limit_bytes;
  hot_limit_bytes_ = options.hot_limit_bytes;
  KvCache::Config config;
  config.shape = transformer_->config().kv_shape();
  kv_type_ = options.kv_type;
  config.shape.dtype = TypeOf(kv_type_);
  config.host_limit_bytes = host_limit_bytes_;
  config.hot_limit_bytes = hot_limit_bytes_;
  ARKVALE_ASSIGN_OR_RETURN(cache_, KvCache::Make(std::move(config), context_));
  return OkStatus();
}

void Runtime::PackWeights(int64_t ram_bytes) {
  const int64_t bytes = transformer_->packable_bytes();
  const bool has_room = ShouldPackWeights(bytes, ram_bytes);
  if (transformer_->weight_bytes() > ram_bytes) {
    Log().warn("the weights take {} and this machine has {} of RAM: each token will read them from the disk",
               ByteText(transformer_->weight_bytes()), ByteText(ram_bytes));
  } else if (!has_room) {
    Log().warn("steps will be slower: the copy of the weights that they read takes {} of this machine's {} of RAM",
               ByteText(bytes), ByteText(ram_bytes));
  }
  if (!has_room) return;
  const Status status = transformer_->PackWeights(context_);
  if (!status.ok()) Log().warn("the weights stay in their file, and steps will be slower: {}", status.message());
}

Status Runtime::CheckFits(int64_t n_tokens) const {
  const int64_t n_rows = std::min<int64_t>(n_tokens, prefill_chunk_);
  return CheckMemory({.n_tokens = n_tokens,
                      .kv_bytes = cache_->FullBytes(InWholeBlocks(n_tokens)),
                      .activation_bytes = ActivationBytes(transformer_->config(), n_rows),
                      .packed_weight_bytes = transformer_->packed_bytes()},
                     memory_limits());
}

MemoryLimits Runtime::memory_limits() const {
  return {.host_limit_bytes = host_limit_bytes_, .ram_bytes = MemoryBytes()};
}

Result<KvOptions> Runtime::ResolveBudget(const KvOptions& options, int64_t n_tokens) const {
  KvOptions resolved = options;
  const bool is_auto = options.budget_tokens == kAutoBudget;
  if (is_auto && hot_limit_bytes_ == 0) {
    return InvalidArgument("budget auto is what --kv-hot-mem has room for: give that limit, or a number of tokens");
  }
  if (is_auto && options.policy != KvPolicyKind::kFull && !options.layer_budget_tokens.empty()) {
    return InvalidArgument("budget auto is one budget for all layers, and the layers have their own: give a number");
  }
  if (is_auto) resolved.budget_tokens = 0;
  ARKVALE_RETURN_IF_ERROR(resolved.Validate(info_.n_layers, info_.n_kv_heads));
  if (!is_auto || options.policy == KvPolicyKind::kFull) return resolved;
  ARKVALE_ASSIGN_OR_RETURN(resolved.budget_tokens,
                           BudgetForHotBytes(cache_->shape(), resolved, n_tokens, hot_limit_bytes_));
  ARKVALE_RETURN_IF_ERROR(resolved.Validate(info_.n_layers, info_.n_kv_heads));
  return resolved;
}

std::string Runtime::model_name() const {
  return info_.name.empty() ? std::filesystem::path(info_.path).filename().string() : info_.name;
}

Status Runtime::ApplyPlan(std::string_view plan_text, KvOptions& options) const {
  ARKVALE_ASSIGN_OR_RETURN(const KvPlan plan, ParsePlan(plan_text));
  const Status fits = CheckPlanFits(plan, fingerprint(), model_name(), info_.n_layers);
  // The request is right: the file is the wrong one.
  if (!fits.ok()) return Corrupt(fits.message());
  KvOptions planned = options;
  arkvale::ApplyPlan(plan, planned);
  ARKVALE_RETURN_IF_ERROR(planned.Validate(info_.n_layers, info_.n_kv_heads));
  options = std::move(planned);
  return OkStatus();
}

}  // namespace arkvale
