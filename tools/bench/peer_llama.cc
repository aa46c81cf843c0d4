#include "tools/bench/peer_llama.h"

#include <llama.h>

#include <algorithm>
#include <array>
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

// One flash-attention setting: a context of its own, since the two lay out V differently.
struct Mode {
  bool flash = false;
  std::unique_ptr<llama_context, FreeContext> context;
  std::vector<uint8_t> state;      // after SetContext; used where the cache cannot be cut back
  std::vector<double> warm_up_ms;  // of this warm-up

  llama_memory_t memory() const { return llama_get_memory(context.get()); }
};

Status DecodeStatus(int result) {
  if (result == 0) return OkStatus();
  if (g_cancel) return Cancelled("interrupted");
  return Internal("llama.cpp: llama_decode failed with " + std::to_string(result));
}

}  // namespace

struct PeerLlama::Impl {
  std::unique_ptr<llama_model, FreeModel> model;
  std::unique_ptr<ggml_threadpool, FreePool> pool;  // as llama-bench does: else each graph starts threads of its own
  std::array<Mode, 2> modes;                        // declared last: contexts end before the pool and the model
  std::vector<int32_t> context_ids;
  bool warming_up = true;
  size_t chosen = 0;
  bool sliding = false;  // cells of a sliding window are overwritten: cutting back is not exact

  Status MakeMode(Mode& mode, bool flash, int32_t threads, int64_t max_tokens);
  Status Eval(Mode& mode, std::span<const int32_t> ids) const;
  Status Rewind(Mode& mode) const;
  Status Extend(Mode& mode, std::span<const int32_t> added) const;
  Result<DecodeSample> Decode(Mode& mode, std::span<const int32_t> ids) const;
  Result<double> Prefill(Mode& mode, std::span<const int32_t> ids) const;
};

Status PeerLlama::Impl::MakeMode(Mode& mode, bool flash, int32_t threads, int64_t max_tokens) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(max_tokens);
  params.n_seq_max = 1;
  params.n_threads = threads;
  params.n_threads_batch = threads;
  params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = GGML_TYPE_F16;
  params.type_v = GGML_TYPE_F16;
  params.swa_full = false;
  params.no_perf = true;
  params.abort_callback = [](void*) { return g_cancel.load(); };
  mode.flash = flash;
  mode.context.reset(llama_init_from_model(model.get(), params));
  if (!mode.context) return ResourceExhausted("llama.cpp: no context of " + std::to_string(max_tokens) + " tokens");
  llama_attach_threadpool(mode.context.get(), pool.get(), pool.get());
  return OkStatus();
}

// Appends ids; the logits of the last one are readable afterwards.
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

// Back to the state after SetContext.
Status PeerLlama::Impl::Rewind(Mode& mode) const {
  if (context_ids.empty()) {
    llama_memory_clear(mode.memory(), false);
    return OkStatus();
  }
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

Result<DecodeSample> PeerLlama::Impl::Decode(Mode& mode, std::span<const int32_t> ids) const {
  ARKVALE_RETURN_IF_ERROR(Rewind(mode));
  const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
  DecodeSample sample;
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(Eval(mode, ids.subspan(i, 1)));
    const double ms = MsSince(start_ns);
    const float* logits = llama_get_logits_ith(mode.context.get(), -1);
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

Result<std::unique_ptr<PeerLlama>> PeerLlama::Load(const std::string& path, int32_t threads, int64_t max_tokens) {
  auto impl = std::make_unique<Impl>();
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  impl->model.reset(llama_model_load_from_file(path.c_str(), params));
  if (!impl->model) return Internal("llama.cpp cannot load " + path);
  impl->sliding = llama_model_n_swa(impl->model.get()) > 0;
  ggml_threadpool_params pool_params = ggml_threadpool_params_default(threads);
  impl->pool.reset(ggml_threadpool_new(&pool_params));
  if (!impl->pool) return ResourceExhausted("llama.cpp: no pool of " + std::to_string(threads) + " threads");
  ARKVALE_RETURN_IF_ERROR(impl->MakeMode(impl->modes[0], false, threads, max_tokens));
  ARKVALE_RETURN_IF_ERROR(impl->MakeMode(impl->modes[1], true, threads, max_tokens));
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

Result<DecodeSample> PeerLlama::Decode(std::span<const int32_t> ids) {
  if (!impl_->warming_up) return impl_->Decode(impl_->modes[impl_->chosen], ids);
  DecodeSample sample;
  for (Mode& mode : impl_->modes) {
    ARKVALE_ASSIGN_OR_RETURN(sample, impl_->Decode(mode, ids));
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
  if (!on) impl_->chosen = Median(modes[1].warm_up_ms) < Median(modes[0].warm_up_ms) ? 1 : 0;
  for (Mode& mode : modes) mode.warm_up_ms.clear();
  impl_->warming_up = on;
}

Json PeerLlama::Labels() const { return {{"engine", "llama.cpp"}, {"policy", "full"}, {"budget_tokens", nullptr}}; }

Json PeerLlama::DecodeFields(double /*step_ms_median*/) const { return PrefillFields(); }

Json PeerLlama::PrefillFields() const { return {{"flash_attention", impl_->modes[impl_->chosen].flash}}; }

}  // namespace arkvale::tools
