#include "tests/llama_oracle.h"

#include <algorithm>

#include "llama.h"

namespace arkvale::testing {

struct LlamaOracle::Impl {
  llama_model* model = nullptr;
  const llama_vocab* vocab = nullptr;
  int threads = 1;
  ~Impl() { llama_model_free(model); }
};

LlamaOracle::LlamaOracle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LlamaOracle::~LlamaOracle() = default;

Result<std::unique_ptr<LlamaOracle>> LlamaOracle::Load(const std::string& path, int threads) {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  auto impl = std::make_unique<Impl>();
  impl->model = llama_model_load_from_file(path.c_str(), params);
  if (impl->model == nullptr) return Corrupt("llama.cpp does not load " + path);
  impl->vocab = llama_model_get_vocab(impl->model);
  impl->threads = threads;
  return std::unique_ptr<LlamaOracle>(new LlamaOracle(std::move(impl)));
}

int32_t LlamaOracle::n_vocab() const { return llama_vocab_n_tokens(impl_->vocab); }

std::vector<int32_t> LlamaOracle::Tokenize(const std::string& text) const {
  std::vector<int32_t> ids(text.size() + 2);
  const int32_t n = llama_tokenize(impl_->vocab, text.data(), static_cast<int32_t>(text.size()), ids.data(),
                                   static_cast<int32_t>(ids.size()), llama_vocab_get_add_bos(impl_->vocab), false);
  ids.resize(std::max(n, 0));
  return ids;
}

Result<std::vector<float>> LlamaOracle::Logits(std::span<const int32_t> ids, size_t from) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(ids.size()) + 8;
  params.n_batch = params.n_ubatch = 512;
  params.n_threads = params.n_threads_batch = impl_->threads;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* context = llama_init_from_model(impl_->model, params);
  if (context == nullptr) return Internal("llama.cpp makes no context");
  std::vector<float> logits;
  llama_batch batch = llama_batch_init(512, 0, 1);
  bool failed = false;
  for (size_t at = 0; at < ids.size() && !failed; at += 512) {
    batch.n_tokens = static_cast<int32_t>(std::min<size_t>(512, ids.size() - at));
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
      batch.token[i] = ids[at + i];
      batch.pos[i] = static_cast<int32_t>(at) + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = at + i >= from ? 1 : 0;
    }
    failed = llama_decode(context, batch) != 0;
    for (int32_t i = 0; i < batch.n_tokens && !failed; ++i) {
      if (at + i < from) continue;
      const float* row = llama_get_logits_ith(context, i);
      logits.insert(logits.end(), row, row + n_vocab());
    }
  }
  llama_batch_free(batch);
  llama_free(context);
  if (failed) return Internal("llama_decode failed");
  return logits;
}

}  // namespace arkvale::testing
