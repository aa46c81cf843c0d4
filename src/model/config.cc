#include "model/config.h"

#include <cmath>
#include <limits>
#include <optional>

#include "model/gguf_view.h"

namespace arkvale {

namespace {

constexpr uint32_t kMaxLayers = 512;      // libllama's limit
constexpr uint32_t kMaxWidth = 1u << 24;  // of any dimension, so that products of two fit in int64
constexpr uint32_t kGemma3LayersOf27B = 62;

// Reads `<architecture>.<key>`; the first failure sticks, so that a list of keys reads as a list.
class KeyReader {
 public:
  KeyReader(const GgufView& file, std::string_view architecture) : file_(file), prefix_(architecture) {
    prefix_ += '.';
  }

  const Status& status() const { return status_; }
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  bool Has(std::string_view key) const { return file_.Find(Key(key)) != nullptr; }

  std::optional<uint32_t> MaybeU32(std::string_view key) { return Get<uint32_t>(key, &GgufView::U32); }
  std::optional<float> MaybeF32(std::string_view key) { return Get<float>(key, &GgufView::F32); }
  std::optional<std::string_view> MaybeString(std::string_view key) {
    return Get<std::string_view>(key, &GgufView::String);
  }

  // In [1, max], required unless a default is given.
  int32_t Size(std::string_view key, uint32_t max, std::optional<uint32_t> missing = std::nullopt) {
    std::optional<uint32_t> v = MaybeU32(key);
    if (!v) v = missing;
    if (!v) {
      Fail(file_.Error("key " + Key(key) + " is missing"));
    } else if (*v < 1 || *v > max) {
      Fail(file_.Error("key " + Key(key) + " is " + std::to_string(*v) + ", not in 1.." + std::to_string(max)));
    }
    return status_.ok() ? static_cast<int32_t>(*v) : 1;
  }

  // Finite and > 0.
  float Positive(std::string_view key, std::optional<float> missing) {
    std::optional<float> v = MaybeF32(key);
    if (!v) v = missing;
    if (!v) {
      Fail(file_.Error("key " + Key(key) + " is missing"));
    } else if (!std::isfinite(*v) || *v <= 0) {
      Fail(file_.Error("key " + Key(key) + " is " + std::to_string(*v) + ", not a positive number"));
    }
    return status_.ok() ? *v : 1.0f;
  }

  std::string Key(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  template <typename T, typename Getter>
  std::optional<T> Get(std::string_view key, Getter getter) {
    const std::string full = Key(key);
    const GgufValue* value = file_.Find(full);
    if (value != nullptr && value->type == GgufType::kArray) {
      Fail(InvalidArgument(file_.name() + ": key " + full + " has one value per layer, which is not supported"));
      return std::nullopt;
    }
    auto result = (file_.*getter)(full);
    if (!result.ok()) {
      Fail(result.status());
      return std::nullopt;
    }
    return *result;
  }

  const GgufView& file_;
  std::string prefix_;
  Status status_;
};

Status Unsupported(const GgufView& file, const std::string& what) {
  return InvalidArgument(file.name() + ": " + what + " is not supported");
}

// Keys that change the computation in a way we do not implement.
Status RefuseUnsupported(const GgufView& file, KeyReader& keys) {
  const uint32_t n_experts = keys.MaybeU32("expert_count").value_or(0);
  if (n_experts > 0) return Unsupported(file, "a mixture of " + std::to_string(n_experts) + " experts");
  if (keys.MaybeU32("nextn_predict_layers").value_or(0) > 0) return Unsupported(file, "multi-token prediction");
  for (const char* key : {"attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"}) {
    if (keys.Has(key)) return Unsupported(file, "key " + keys.Key(key));
  }
  if (keys.MaybeF32("rope.scaling.attn_factor").value_or(1.0f) != 1.0f) {
    return Unsupported(file, "key " + keys.Key("rope.scaling.attn_factor") + " other than 1");
  }
  const std::string_view scaling = keys.MaybeString("rope.scaling.type").value_or("linear");
  if (scaling != "linear" && scaling != "none") {
    return Unsupported(file, "rope scaling '" + std::string(scaling.substr(0, 32)) + "'");
  }
  return keys.status();
}

RopeParams FullRope(KeyReader& keys, RopeKind kind, int32_t n_rot) {
  RopeParams rope;
  rope.kind = kind;
  rope.n_rot = n_rot;
  rope.freq_base = keys.Positive("rope.freq_base", 10000.0f);
  // An older name of the same key; 0 means unscaled, as in llama.cpp.
  const char* factor_key = keys.Has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const float factor = keys.MaybeF32(factor_key).value_or(0.0f);
  const bool scaled = keys.MaybeString("rope.scaling.type").value_or("linear") == "linear" && factor != 0.0f;
  rope.freq_scale = scaled ? 1.0f / keys.Positive(factor_key, std::nullopt) : 1.0f;
  return rope;
}

void ReadShape(const GgufView& file, KeyReader& keys, ModelConfig& c) {
  c.n_layers = keys.Size("block_count", kMaxLayers);
  c.context_tokens = keys.Size("context_length", std::numeric_limits<int32_t>::max());
  c.d_model = keys.Size("embedding_length", kMaxWidth);
  c.d_ff = keys.Size("feed_forward_length", kMaxWidth);
  c.n_q_heads = keys.Size("attention.head_count", 1u << 12);
  c.n_kv_heads = keys.Size("attention.head_count_kv", 1u << 12, static_cast<uint32_t>(c.n_q_heads));
  const auto head_dim = static_cast<uint32_t>(c.d_model / c.n_q_heads);
  c.head_dim_k = keys.Size("attention.key_length", 1u << 12, head_dim);
  c.head_dim_v = keys.Size("attention.value_length", 1u << 12, head_dim);
  c.rms_eps = keys.Positive("attention.layer_norm_rms_epsilon", std::nullopt);
  if (c.n_q_heads % c.n_kv_heads != 0) {
    keys.Fail(file.Error(std::to_string(c.n_q_heads) + " query heads are not a multiple of " +
                         std::to_string(c.n_kv_heads) + " kv heads"));
  }
}

int32_t RotaryDims(const GgufView& file, KeyReader& keys, const ModelConfig& c) {
  const int32_t n_rot = keys.Size("rope.dimension_count", 1u << 12, static_cast<uint32_t>(c.head_dim_k));
  if (n_rot % 2 != 0 || n_rot > c.head_dim_k) {
    keys.Fail(file.Error(std::to_string(n_rot) + " rotary dimensions: want an even number up to the head dimension " +
                         std::to_string(c.head_dim_k)));
  }
  return n_rot;
}

// `llama.attention.sliding_window` (old Mistral files) is ignored, as llama.cpp does.
void ReadLlama(const GgufView& file, KeyReader& keys, ModelConfig& c) {
  const int32_t n_rot = RotaryDims(file, keys, c);
  if (n_rot != c.head_dim_k || c.head_dim_v != c.head_dim_k) {
    keys.Fail(file.Error("llama needs equal key, value and rotary dimensions, not " + std::to_string(c.head_dim_k) +
                         ", " + std::to_string(c.head_dim_v) + " and " + std::to_string(n_rot)));
  }
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim_k));
  c.glu = GluKind::kSilu;
  c.layers.assign(static_cast<size_t>(c.n_layers), LayerConfig{0, FullRope(keys, RopeKind::kNorm, n_rot)});
}

// Gemma 3 technical report, arXiv 2503.19786: five sliding layers to one global layer, each with its own RoPE base.
void ReadGemma3(const GgufView& file, KeyReader& keys, ModelConfig& c) {
  const int32_t n_rot = RotaryDims(file, keys, c);
  const bool is_27b = static_cast<uint32_t>(c.n_layers) == kGemma3LayersOf27B;
  const int32_t scale_dim = is_27b ? c.d_model / c.n_q_heads : c.head_dim_k;
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(scale_dim));
  c.embedding_scale = std::sqrt(static_cast<float>(c.d_model));
  c.glu = GluKind::kGelu;
  c.qk_norm = true;
  c.post_norms = true;
  c.final_softcap = keys.MaybeF32("final_logit_softcapping").value_or(0.0f);
  if (!std::isfinite(c.final_softcap) || c.final_softcap < 0) {
    keys.Fail(file.Error("key " + keys.Key("final_logit_softcapping") + " is not a number >= 0"));
  }

  const LayerConfig global{0, FullRope(keys, RopeKind::kNeox, n_rot)};
  LayerConfig local{0, global.rope};
  local.rope.freq_scale = 1.0f;
  local.rope.freq_base = 10000.0f;
  if (keys.MaybeU32("attention.sliding_window").value_or(0) > 0) {
    local.window = keys.Size("attention.sliding_window", std::numeric_limits<int32_t>::max());
    local.rope.freq_base = keys.Positive("rope.freq_base_swa", 10000.0f);
  }
  const uint32_t pattern = keys.MaybeU32("attention.sliding_window_pattern").value_or(6);
  for (int32_t l = 0; l < c.n_layers; ++l) {
    const bool is_global = pattern != 0 && static_cast<uint32_t>(l) % pattern == pattern - 1;
    c.layers.push_back(is_global || local.window == 0 ? global : local);
  }
}

}  // namespace

bool ArchitectureSupported(std::string_view architecture) {
  return architecture == "llama" || architecture == "gemma3";
}

Result<ModelConfig> ReadConfig(const GgufView& file) {
  ARKVALE_ASSIGN_OR_RETURN(const auto architecture, file.String("general.architecture"));
  if (!architecture) return file.Error("key general.architecture is missing");
  ModelConfig c;
  c.architecture = std::string(architecture->substr(0, 64));
  if (!ArchitectureSupported(*architecture)) {
    return InvalidArgument(file.name() + ": architecture '" + c.architecture +
                           "' is not supported (llama, gemma3 are)");
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto name, file.String("general.name"));
  c.name = std::string(name.value_or(""));

  KeyReader keys(file, *architecture);
  ARKVALE_RETURN_IF_ERROR(RefuseUnsupported(file, keys));
  ReadShape(file, keys, c);
  ARKVALE_RETURN_IF_ERROR(keys.status());
  if (c.architecture == "llama") {
    ReadLlama(file, keys, c);
  } else {
    ReadGemma3(file, keys, c);
  }
  ARKVALE_RETURN_IF_ERROR(keys.status());

  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) return file.Error("tensor 'token_embd.weight' is missing");
  if (embedding->shape[1] > std::numeric_limits<int32_t>::max())
    return file.Error("vocabulary larger than 2^31 tokens");
  c.n_vocab = static_cast<int32_t>(embedding->shape[1]);
  return c;
}

KvShape ModelConfig::kv_shape() const {
  KvShape shape;
  for (const LayerConfig& layer : layers) {
    shape.layers.push_back({n_q_heads, n_kv_heads, head_dim_k, head_dim_v, attention_scale, layer.window});
  }
  return shape;
}

}  // namespace arkvale
