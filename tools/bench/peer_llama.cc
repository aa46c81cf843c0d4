#include "tools/bench/peer_llama.h"

#include <llama.h>

#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "base/quantile.h"
#include "tools/common/interrupt.h"

namespace arkvale::tools {
namespace {

constexpr llama_seq_id kSeq = 0;

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct FreeContext {
  void operator()(llama_context* context) const { llama_free(context); }
};
struct FreePool {
  void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
};

// One setting: a context of its own, since flash attention lays out V differently and sequences lie in one buffer or
// apart.
struct Mode {
  int32_t setting = 0;
  std::unique_ptr<llama_context, FreeContext> context;
  std::vector<uint8_t> state;      // after SetContext; used where the cache cannot be cut back
  std::vector<double> warm_up_ms;  // of this warm-up

  bool flash() const { return (setting & 1) != 0; }
  bool unified() const { return (setting & 2) == 0; }
  llama_memory_t memory() const { return llama_get_memory(context.get()); }
};

struct FreeBatch {
  explicit FreeBatch(int32_t n) : batch(llama_batch_init(n, 0, 1)) {}
  ~FreeBatch() { llama_batch_free(batch); }
  FreeBatch(const FreeBatch&) = delete;
  FreeBatch& operator=(const FreeBatch&) = delete;
  llama_batch batch;
};

ggml_type TypeOf(KvType type) {
  switch (type) {
    case KvType::kF16: return GGML_TYPE_F16;
    case KvType::kQ8: return GGML_TYPE_Q8_0;
    case KvType::kQ4: return GGML_TYPE_Q4_0;
  }
  return GGML_TYPE_F16;
}

Status DecodeStatus(int result) {
  if (result == 0) return OkStatus();
  if (g_cancel) return Cancelled("interrupted");
  return Internal("llama.cpp: llama_decode failed with " + std::to_string(result));
}

// One token at the same position for every sequence, with logits.
void FillBatch(std::span<const int32_t> ids, size_t step, llama_pos position, int32_t n, llama_batch& batch) {
  batch.n_tokens = n;
  for (int32_t s = 0; s < n; ++s) {
    batch.token[s] = StepId(ids, step, s);
    batch.pos[s] = position;
    batch.n_seq_id[s] = 1;
    batch.seq_id[s][0] = s;
    batch.logits[s] = 1;
  }
}

}  // namespace

struct PeerLlama::Impl {
  PeerOptions options;
  std::unique_ptr<llama_model, FreeModel> model;
  std::unique_ptr<ggml_threadpool, FreePool> pool;  // as llama-bench does: else each graph starts threads of its own
  std::vector<Mode> modes;                          // declared last: contexts end before the pool and the model
  std::vector<int32_t> context_ids;
  bool warming_up = true;
  size_t chosen = 0;
  bool sliding = false;  // cells of a sliding window are overwritten: cutting back is not exact

  Status MakeMode(int32_t setting);
  Status Eval(Mode& mode, std::span<const int32_t> ids) const;
  Status Rewind(Mode& mode) const;
  Status Extend(Mode& mode, std::span<const int32_t> added) const;
  Result<DecodeSample> Decode(Mode& mode, std::span<const int32_t> ids, int32_t batch) const;
  Result<double> Prefill(Mode& mode, std::span<const int32_t> ids) const;
};

Status PeerLlama::Impl::MakeMode(int32_t setting) {
  Mode& mode = modes.emplace_back();
  mode.setting = setting;
  llama_context_params params = llama_context_default_params();
  // In one buffer the sequences share the context and add their steps; apart each has a copy.
  const int64_t cells = mode.unified() ? options.max_tokens + int64_t{options.max_batch - 1} * options.steps
                                       : options.max_tokens * options.max_batch;
  params.n_ctx = static_cast<uint32_t>(cells);
  params.n_seq_max = static_cast<uint32_t>(options.max_batch);
  params.kv_unified = mode.unified();
  params.n_threads = options.threads;
  params.n_threads_batch = options.threads;
  params.flash_attn_type = mode.flash() ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = TypeOf(options.kv_type);
  params.type_v = params.type_k;
  params.swa_full = false;
  params.no_perf = true;
  params.abort_callback = [](void*) { return g_cancel.load(); };
  mode.context.reset(llama_init_from_model(model.get(), params));
  if (!mode.context) return ResourceExhausted("llama.cpp: no context of " + std::to_string(cells) + " tokens");
  llama_attach_threadpool(mode.context.get(), pool.get(), pool.get());
  return OkStatus();
}

// Appends ids to the first sequence; the logits of the last one are readable afterwards.
Status PeerLlama::Impl::Eval(Mode& mode, std::span<const int32_t> ids) const {
  const size_t n_batch = llama_n_batch(mode.context.get());
  for (size_t done = 0; done < ids.size();) {
    const size_t n = std::min(n_batch, ids.size() - done);
    auto* tokens = const_cast<llama_token*>(ids.data() + done);  // llama_decode only reads them
    const int result = llama_decode(mode.context.get(), llama_batch_get_one(tokens, static_cast<int32_t>(n)));
    ARKVALE_RETURN_IF_ERROR(DecodeStatus(result));
    done += n;
  }
  llama_synchronize(mode.context.get());
  return OkStatus();
}

// Back to the state after SetContext, in the first sequence; the others are empty.
Status PeerLlama::Impl::Rewind(Mode& mode) const {
  if (context_ids.empty()) {
    llama_memory_clear(mode.memory(), false);
    return OkStatus();
  }
  for (llama_seq_id s = 1; s < options.max_batch; ++s) llama_memory_seq_rm(mode.memory(), s, -1, -1);
  const auto depth = static_cast<llama_pos>(context_ids.size());
  if (mode.state.empty() && llama_memory_seq_rm(mode.memory(), kSeq, depth, -1)) return OkStatus();
  llama_memory_clear(mode.memory(), false);
  if (llama_state_seq_set_data(mode.context.get(), mode.state.data(), mode.state.size(), kSeq) == 0) {
    return Internal("llama.cpp: its saved state cannot be restored");
  }
  return OkStatus();
}

Status PeerLlama::Impl::Extend(Mode& mode, std::span<const int32_t> added) const {
  ARKVALE_RETURN_IF_ERROR(Rewind(mode));
  ARKVALE_RETURN_IF_ERROR(Eval(mode, added));
  if (!sliding) return OkStatus();
  mode.state.resize(llama_state_seq_get_size(mode.context.get(), kSeq));
  if (llama_state_seq_get_data(mode.context.get(), mode.state.data(), mode.state.size(), kSeq) == 0) {
    return Internal("llama.cpp: its state cannot be saved");
  }
  return OkStatus();
}

Result<DecodeSample> PeerLlama::Impl::Decode(Mode& mode, std::span<const int32_t> ids, int32_t batch) const {
  ARKVALE_RETURN_IF_ERROR(Rewind(mode));
  for (llama_seq_id s = 1; s < batch; ++s) llama_memory_seq_cp(mode.memory(), kSeq, s, -1, -1);
  const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
  FreeBatch tokens(batch);
  DecodeSample sample;
  for (size_t i = 0; i < ids.size(); ++i) {
    FillBatch(ids, i, static_cast<llama_pos>(context_ids.size() + i), batch, tokens.batch);
    const int64_t start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(DecodeStatus(llama_decode(mode.context.get(), tokens.batch)));
    llama_synchronize(mode.context.get());
    const double ms = MsSince(start_ns);
    const float* logits = llama_get_logits_ith(mode.context.get(), 0);
    sample.likeliest_ids.push_back(static_cast<int32_t>(std::max_element(logits, logits + n_vocab) - logits));
    if (i > 0) sample.step_ms.push_back(ms);
  }
  ggml_threadpool_pause(pool.get());  // its workers must not poll while we compute
  return sample;
}

Result<double> PeerLlama::Impl::Prefill(Mode& mode, std::span<const int32_t> ids) const {
  llama_memory_clear(mode.memory(), false);
  const int64_t start_ns = NowNs();
  ARKVALE_RETURN_IF_ERROR(Eval(mode, ids));
  const double ms = MsSince(start_ns);
  ggml_threadpool_pause(pool.get());
  return ms;
}

PeerLlama::PeerLlama(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerLlama::~PeerLlama() = default;

Result<std::unique_ptr<PeerLlama>> PeerLlama::Load(const std::string& path, const PeerOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  impl->model.reset(llama_model_load_from_file(path.c_str(), params));
  if (!impl->model) return Internal("llama.cpp cannot load " + path);
  impl->sliding = llama_model_n_swa(impl->model.get()) > 0;
  ggml_threadpool_params pool_params = ggml_threadpool_params_default(options.threads);
  impl->pool.reset(ggml_threadpool_new(&pool_params));
  if (!impl->pool) return ResourceExhausted("llama.cpp: no pool of " + std::to_string(options.threads) + " threads");
  if (options.setting) {
    ARKVALE_RETURN_IF_ERROR(impl->MakeMode(*options.setting));
  } else {
    // With one sequence at a time one buffer and many are the same.
    const int32_t n_settings = options.max_batch > 1 ? 4 : 2;
    for (int32_t setting = 0; setting < n_settings; ++setting) {
      // It has quantised V with flash attention only.
      if (options.kv_type != KvType::kF16 && setting % 2 == 0) continue;
      ARKVALE_RETURN_IF_ERROR(impl->MakeMode(setting));
    }
  }
  ggml_threadpool_pause(impl->pool.get());
  return std::unique_ptr<PeerLlama>(new PeerLlama(std::move(impl)));
}

Status PeerLlama::SetContext(std::span<const int32_t> ids) {
  auto& held = impl_->context_ids;
  const bool extends = ids.size() >= held.size() && std::equal(held.begin(), held.end(), ids.begin());
  if (!extends) held.clear();
  for (Mode& mode : impl_->modes) {
    if (!extends) mode.state.clear();
    ARKVALE_RETURN_IF_ERROR(impl_->Extend(mode, ids.subspan(held.size())));
  }
  held.assign(ids.begin(), ids.end());
  ggml_threadpool_pause(impl_->pool.get());
  return OkStatus();
}

Result<DecodeSample> PeerLlama::Decode(std::span<const int32_t> ids, int32_t batch) {
  if (!impl_->warming_up) return impl_->Decode(impl_->modes[impl_->chosen], ids, batch);
  DecodeSample sample;
  for (Mode& mode : impl_->modes) {
    ARKVALE_ASSIGN_OR_RETURN(sample, impl_->Decode(mode, ids, batch));
    mode.warm_up_ms.push_back(Median(sample.step_ms));
  }
  return sample;
}

Result<double> PeerLlama::Prefill(std::span<const int32_t> ids) {
  // It overwrites what SetContext left: the next context starts from nothing.
  impl_->context_ids.clear();
  for (Mode& mode : impl_->modes) mode.state.clear();
  if (!impl_->warming_up) return impl_->Prefill(impl_->modes[impl_->chosen], ids);
  double ms = 0;
  for (Mode& mode : impl_->modes) {
    ARKVALE_ASSIGN_OR_RETURN(ms, impl_->Prefill(mode, ids));
    mode.warm_up_ms.push_back(ms);
  }
  return ms;
}

void PeerLlama::SetWarmUp(bool on) {
  auto& modes = impl_->modes;
  if (!on) {
    const auto fastest = std::min_element(modes.begin(), modes.end(), [](const Mode& a, const Mode& b) {
      return Median(a.warm_up_ms) < Median(b.warm_up_ms);
    });
    impl_->chosen = static_cast<size_t>(fastest - modes.begin());
  }
  for (Mode& mode : modes) mode.warm_up_ms.clear();
  impl_->warming_up = on;
}

int32_t PeerLlama::setting() const { return impl_->modes[impl_->chosen].setting; }

Json PeerLlama::Labels() const {
  return {{"engine", "llama.cpp"}, {"policy", "full"}, {"budget_tokens", nullptr},
          {"plan", nullptr},       {"fill", "text"},   {"kv_type", KvTypeName(impl_->options.kv_type)}};
}

Json PeerLlama::DecodeFields(int32_t batch) const {
  const Mode& mode = impl_->modes[impl_->chosen];
  return {{"flash_attention", mode.flash()},
          {"kv_unified", batch > 1 ? Json(mode.unified()) : Json(nullptr)},
          {"swa_full", impl_->sliding ? Json(false) : Json(nullptr)}};
}

Json PeerLlama::PrefillFields() const { return DecodeFields(1); }

}  // namespace arkvale::tools
