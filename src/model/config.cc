#include "model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include "model/config_rope.h"
#include "model/gguf_view.h"
#include "model/key_reader.h"

namespace arkvale {

namespace {

constexpr uint32_t kMaxLayers = 512;      // libllama's limit
constexpr uint32_t kMaxWidth = 1u << 24;  // of any dimension, so that products of two fit in int64
constexpr uint32_t kMaxExperts = 1024;    // libllama's limit
constexpr uint32_t kGatingSoftmax = 1;
constexpr int32_t kGemma2LayersOf27B = 46;
constexpr int32_t kGemma3LayersOf27B = 62;

// Keys that change the computation in a way we do not implement.
void RefuseUnsupported(KeyReader& keys) {
  if (keys.MaybeU32("nextn_predict_layers").value_or(0) > 0) keys.Unsupported("multi-token prediction");
  for (const char* key : {"attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa",
                          "rope.dimension_sections", "rope.scaling.alpha"}) {
    if (keys.Has(key)) keys.Unsupported("key " + keys.Key(key));
  }
  if (keys.MaybeF32("attention.max_alibi_bias").value_or(0) != 0) keys.Unsupported("ALiBi position bias");
  if (keys.MaybeF32("attention.clamp_kqv").value_or(0) != 0) keys.Unsupported("clamping of q, k and v");
  if (!keys.MaybeBool("attention.causal").value_or(true)) keys.Unsupported("attention that is not causal");
}

void ReadShape(const GgufView& file, KeyReader& keys, ModelConfig& c) {
  c.n_layers = keys.Size("block_count", kMaxLayers);
  c.context_tokens = keys.Size("context_length", std::numeric_limits<int32_t>::max());
  c.d_model = keys.Size("embedding_length", kMaxWidth);
  c.n_q_heads = keys.Size("attention.head_count", 1u << 12);
  c.n_kv_heads = keys.Size("attention.head_count_kv", 1u << 12, static_cast<uint32_t>(c.n_q_heads));
  const auto head_dim = static_cast<uint32_t>(c.d_model / c.n_q_heads);
  c.head_dim_k = keys.Size("attention.key_length", 1u << 12, head_dim);
  c.head_dim_v = keys.Size("attention.value_length", 1u << 12, head_dim);
  c.rms_eps = keys.Positive("attention.layer_norm_rms_epsilon");
  if (c.n_q_heads % c.n_kv_heads != 0) {
    keys.Fail(file.Error(std::to_string(c.n_q_heads) + " query heads are not a multiple of " +
                         std::to_string(c.n_kv_heads) + " kv heads"));
  }
  c.qkv_bias = file.FindTensor("blk.0.attn_q.bias") != nullptr || file.FindTensor("blk.0.attn_qkv.bias") != nullptr;
}

// A dense FFN, or experts chosen by a softmax and renormalised weights, the one kind we run.
void ReadFfn(KeyReader& keys, ModelConfig& c) {
  c.n_experts = static_cast<int32_t>(std::min(keys.MaybeU32("expert_count").value_or(0), kMaxExperts + 1));
  if (c.n_experts == 0) {
    c.d_ff = keys.Size("feed_forward_length", kMaxWidth);
    return;
  }
  if (keys.MaybeU32("expert_shared_count").value_or(0) > 0 ||
      keys.MaybeU32("expert_shared_feed_forward_length").value_or(0) > 0) {
    keys.Unsupported("a mixture with shared experts");
  }
  const uint32_t gating = keys.MaybeU32("expert_gating_func").value_or(kGatingSoftmax);
  if (gating != kGatingSoftmax) {
    keys.Unsupported(keys.Key("expert_gating_func") + " " + std::to_string(gating) + " (only 1, softmax)");
  }
  const float scale = keys.MaybeF32("expert_weights_scale").value_or(0.0f);
  if (scale != 0.0f && scale != 1.0f) keys.Unsupported("scaling of expert weights");
  if (!keys.MaybeBool("expert_weights_norm").value_or(true)) keys.Unsupported("expert weights that do not sum to 1");
  if (keys.MaybeU32("expert_group_count").value_or(0) > 1) keys.Unsupported("choosing experts by groups");
  if (keys.MaybeU32("leading_dense_block_count").value_or(0) > 0 ||
      keys.MaybeU32("interleave_moe_layer_step").value_or(1) > 1) {
    keys.Unsupported("a mixture of dense and expert layers");
  }
  c.n_experts = keys.Size("expert_count", kMaxExperts);
  c.n_experts_used = keys.Size("expert_used_count", static_cast<uint32_t>(c.n_experts));
  if (keys.Has("feed_forward_length") || !keys.Has("expert_feed_forward_length")) {
    c.d_ff = keys.Size("feed_forward_length", kMaxWidth);
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

// What most architectures share: SwiGLU, scores scaled by the head, full attention everywhere.
RopeReader ReadPlain(KeyReader& keys, RopeKind kind, int32_t n_rot, const RopeOverride& rope_override, ModelConfig& c) {
  const RopeReader rope(keys, kind, n_rot, rope_override);
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim_k));
  c.glu = GluKind::kSilu;
  c.layers.assign(static_cast<size_t>(c.n_layers), LayerConfig{0, rope.Global()});
  c.context_tokens = rope.Context(c.context_tokens);
  return rope;
}

RopeFactors LongRope(const RopeReader& rope, const RopeOverride& rope_override, const ModelConfig& c) {
  const int64_t context = rope_override.context_tokens > 0 ? rope_override.context_tokens : c.context_tokens;
  return context > rope.original_context() ? RopeFactors::kLong : RopeFactors::kShort;
}

void RequireEqualDims(const GgufView& file, KeyReader& keys, int32_t n_rot, const ModelConfig& c) {
  if (n_rot == c.head_dim_k && c.head_dim_v == c.head_dim_k) return;
  keys.Fail(file.Error(c.architecture + " needs equal key, value and rotary dimensions, not " +
                       std::to_string(c.head_dim_k) + ", " + std::to_string(c.head_dim_v) + " and " +
                       std::to_string(n_rot)));
}

// Llama 1 to 3, Mistral and Mixtral. `llama.attention.sliding_window` (old Mistral files) is ignored, as llama.cpp
// does.
void ReadLlama(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  const int32_t n_rot = RotaryDims(file, keys, c);
  RequireEqualDims(file, keys, n_rot, c);
  const RopeReader rope = ReadPlain(keys, RopeKind::kNorm, n_rot, rope_override, c);
  c.rope_factors = rope.longrope() ? LongRope(rope, rope_override, c) : RopeFactors::kFreqs;
  c.d_ff_expert = c.d_ff;
}

// Qwen2 technical report, arXiv 2407.10671; the biases are in the file.
void ReadQwen2(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  const int32_t n_rot = RotaryDims(file, keys, c);
  RequireEqualDims(file, keys, n_rot, c);
  ReadPlain(keys, RopeKind::kNeox, n_rot, rope_override, c);
  if (c.n_experts > 0) keys.Unsupported("a mixture of experts in architecture qwen2");
}

// Qwen3 technical report, arXiv 2505.09388; qwen3 and qwen3moe.
void ReadQwen3(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  const int32_t n_rot = RotaryDims(file, keys, c);
  RequireEqualDims(file, keys, n_rot, c);
  ReadPlain(keys, RopeKind::kNeox, n_rot, rope_override, c);
  c.qk_norm = true;
  const bool moe = c.architecture == "qwen3moe";
  if (moe != (c.n_experts > 0)) {
    keys.Fail(file.Error("architecture " + c.architecture + " with " + std::to_string(c.n_experts) + " experts"));
  }
  if (!moe || !keys.status().ok()) return;
  std::optional<uint32_t> share;
  if (c.d_ff >= c.n_experts_used) share = static_cast<uint32_t>(c.d_ff / c.n_experts_used);
  c.d_ff_expert = keys.Size("expert_feed_forward_length", kMaxWidth, share);
}

// Phi-3 technical report, arXiv 2404.14219. `phi3.attention.sliding_window` is ignored, as llama.cpp does.
void ReadPhi3(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  const RopeReader rope = ReadPlain(keys, RopeKind::kNeox, RotaryDims(file, keys, c), rope_override, c);
  if (c.n_experts > 0) keys.Unsupported("a mixture of experts in architecture phi3");
  c.rope_factors = LongRope(rope, rope_override, c);
  c.fused_gate_up = true;
}

// What Gemma 2 and 3 share. `layers_of_27b` tells the one size whose scores are scaled by the width of the model.
void ReadGemma(KeyReader& keys, int32_t layers_of_27b, ModelConfig& c) {
  const int32_t scale_dim = c.n_layers == layers_of_27b ? c.d_model / c.n_q_heads : c.head_dim_k;
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(scale_dim));
  c.embedding_scale = std::sqrt(static_cast<float>(c.d_model));
  c.glu = GluKind::kGelu;
  c.post_norms = true;
  if (c.n_experts > 0) keys.Unsupported("a mixture of experts in architecture " + c.architecture);
}

// Every `pattern`-th layer is global (0: none), the others slide.
void SetSlidingLayers(uint32_t pattern, const LayerConfig& global, const LayerConfig& local, ModelConfig& c) {
  for (int32_t l = 0; l < c.n_layers; ++l) {
    const bool is_global = pattern != 0 && static_cast<uint32_t>(l) % pattern == pattern - 1;
    c.layers.push_back(is_global || local.window == 0 ? global : local);
  }
}

// Gemma 2, arXiv 2408.00118: sliding and global layers in turn, soft caps on scores and logits.
void ReadGemma2(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  ReadGemma(keys, kGemma2LayersOf27B, c);
  const RopeReader rope(keys, RopeKind::kNeox, RotaryDims(file, keys, c), rope_override);
  c.context_tokens = rope.Context(c.context_tokens);
  c.attention_softcap = keys.NotNegative("attn_logit_softcapping", 50.0f);
  c.final_softcap = keys.NotNegative("final_logit_softcapping", 30.0f);
  const int32_t window = keys.Size("attention.sliding_window", std::numeric_limits<int32_t>::max(), 4096);
  const float swa_base = keys.Positive("rope.freq_base_swa", rope.freq_base());
  SetSlidingLayers(keys.MaybeU32("attention.sliding_window_pattern").value_or(2), {0, rope.Global()},
                   {window, rope.Sliding(swa_base, rope.file_freq_scale())}, c);
}

// Gemma 3 technical report, arXiv 2503.19786: five sliding layers to one global layer, each with its own RoPE base.
void ReadGemma3(const GgufView& file, KeyReader& keys, const RopeOverride& rope_override, ModelConfig& c) {
  ReadGemma(keys, kGemma3LayersOf27B, c);
  const RopeReader rope(keys, RopeKind::kNeox, RotaryDims(file, keys, c), rope_override);
  c.context_tokens = rope.Context(c.context_tokens);
  c.qk_norm = true;
  c.final_softcap = keys.NotNegative("final_logit_softcapping", 0.0f);
  int32_t window = 0;
  float swa_base = 10000.0f;
  if (keys.MaybeU32("attention.sliding_window").value_or(0) > 0) {
    window = keys.Size("attention.sliding_window", std::numeric_limits<int32_t>::max());
    swa_base = keys.Positive("rope.freq_base_swa", 10000.0f);
  }
  SetSlidingLayers(keys.MaybeU32("attention.sliding_window_pattern").value_or(6), {0, rope.Global()},
                   {window, rope.Sliding(swa_base, 1.0f)}, c);
}

struct Architecture {
  std::string_view name;
  void (*read)(const GgufView&, KeyReader&, const RopeOverride&, ModelConfig&);
};
constexpr Architecture kArchitectures[] = {
    {"llama", ReadLlama}, {"qwen2", ReadQwen2},   {"qwen3", ReadQwen3},   {"qwen3moe", ReadQwen3},
    {"phi3", ReadPhi3},   {"gemma2", ReadGemma2}, {"gemma3", ReadGemma3},
};

constexpr auto kArchitectureNames = [] {
  std::array<std::string_view, std::size(kArchitectures)> names;
  std::transform(std::begin(kArchitectures), std::end(kArchitectures), names.begin(),
                 [](const auto& a) { return a.name; });
  return names;
}();

}  // namespace

std::span<const std::string_view> SupportedArchitectures() { return kArchitectureNames; }

Result<ModelConfig> ReadConfig(const GgufView& file, const RopeOverride& rope) {
  ARKVALE_ASSIGN_OR_RETURN(const auto architecture, file.String("general.architecture"));
  if (!architecture) return file.Error("key general.architecture is missing");
  ModelConfig c;
  c.architecture = std::string(architecture->substr(0, 64));
  const auto* reader = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                    [&](const Architecture& a) { return a.name == *architecture; });
  if (reader == std::end(kArchitectures)) {
    std::string known;
    for (const std::string_view name : kArchitectureNames) known.append(known.empty() ? "" : ", ").append(name);
    return InvalidArgument(file.name() + ": architecture '" + c.architecture + "' is not supported (" + known +
                           " are)");
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto name, file.String("general.name"));
  c.name = std::string(name.value_or(""));

  KeyReader keys(file, *architecture);
  RefuseUnsupported(keys);
  ReadFfn(keys, c);
  ReadShape(file, keys, c);
  ARKVALE_RETURN_IF_ERROR(keys.status());
  reader->read(file, keys, rope, c);
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
    shape.layers.push_back(
        {n_q_heads, n_kv_heads, head_dim_k, head_dim_v, attention_scale, layer.window, attention_softcap});
  }
  return shape;
}

}  // namespace arkvale
