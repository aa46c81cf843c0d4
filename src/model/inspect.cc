#include "model/inspect.h"

#include <algorithm>

#include "model/config.h"
#include "model/fingerprint.h"
#include "model/gguf_check.h"
#include "model/gguf_view.h"
#include "model/model_file.h"

namespace arkvale {

namespace {

constexpr int64_t kF16Bytes = 2;

void AddTypes(const GgufView& view, ModelSummary& s) {
  for (const GgufTensor& t : view.tensors()) {
    const std::string type = GgmlTypeName(t.ggml_type);
    auto at = std::find_if(s.types.begin(), s.types.end(), [&](const auto& b) { return b.type == type; });
    if (at == s.types.end()) at = s.types.insert(at, {type, 0, 0});
    ++at->n_tensors;
    at->n_bytes += static_cast<int64_t>(t.n_bytes);
    s.weight_bytes += static_cast<int64_t>(t.n_bytes);
  }
  std::sort(s.types.begin(), s.types.end(), [](const auto& a, const auto& b) { return a.n_bytes > b.n_bytes; });
  if (!s.types.empty()) s.file_type = s.types.front().type;
}

void AddConfig(const ModelConfig& c, ModelSummary& s) {
  s.n_layers = c.n_layers;
  s.d_model = c.d_model;
  s.d_ff = c.d_ff;
  s.n_experts = c.n_experts;
  s.n_experts_used = c.n_experts_used;
  s.d_ff_expert = c.d_ff_expert;
  s.attention_softcap = c.attention_softcap;
  s.final_softcap = c.final_softcap;
  s.n_q_heads = c.n_q_heads;
  s.n_kv_heads = c.n_kv_heads;
  s.head_dim_k = c.head_dim_k;
  s.head_dim_v = c.head_dim_v;
  s.n_vocab = c.n_vocab;
  s.context_tokens = c.context_tokens;
  const int64_t layer_token_bytes = kF16Bytes * c.n_kv_heads * (c.head_dim_k + c.head_dim_v);
  for (const LayerConfig& layer : c.layers) {
    if (layer.window == 0) {
      s.kv_bytes_per_token += layer_token_bytes;
    } else {
      ++s.n_sliding_layers;
      s.window_tokens = layer.window;
      s.kv_window_bytes += layer_token_bytes * layer.window;
    }
  }
}

}  // namespace

Result<ModelSummary> InspectModel(const std::string& path) {
  ARKVALE_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::Open(path));
  const GgufView& view = file.view();
  ModelSummary s;
  s.path = path;
  s.file_bytes = view.file_bytes();
  s.n_files = view.n_parts();
  s.n_tensors = static_cast<int64_t>(view.tensors().size());
  AddTypes(view, s);
  s.fingerprint = Fingerprint(view);

  const Status check = CheckGgufView(view);
  if (check.kind() == StatusKind::kCorrupt) return check;
  ARKVALE_ASSIGN_OR_RETURN(const auto architecture, view.String("general.architecture"));
  ARKVALE_ASSIGN_OR_RETURN(const auto name, view.String("general.name"));
  ARKVALE_ASSIGN_OR_RETURN(const auto tokenizer, view.String("tokenizer.ggml.model"));
  s.architecture = std::string(architecture.value_or(""));
  s.name = std::string(name.value_or(""));
  s.tokenizer = std::string(tokenizer.value_or(""));
  s.has_chat_template = view.Find("tokenizer.chat_template") != nullptr;
  if (const GgufValue* tokens = view.Find("tokenizer.ggml.tokens"); tokens != nullptr) {
    s.n_tokens = static_cast<int64_t>(tokens->count);
  }
  const Result<ModelConfig> config = ReadConfig(view);
  if (!check.ok()) {
    s.unsupported = check.message();
  } else if (!config.ok()) {
    s.unsupported = config.status().message();
  } else {
    AddConfig(*config, s);
  }
  return s;
}

}  // namespace arkvale
