// For tests: writes small GGUF files field by field, so that each field can be wrong.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "model/gguf_view.h"

namespace arkvale::testing {

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<int64_t> dims;
    int32_t type = 0;  // f32
    std::string data;
    std::optional<uint64_t> offset;  // instead of the right one
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> n_values, n_tensors;  // instead of the right ones
  uint64_t alignment = 32;                      // that the data really has
  std::vector<Tensor> tensors;

  template <typename T>
  static std::string Bytes(const T& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static std::string Text(const std::string& s) { return Bytes(uint64_t{s.size()}) + s; }

  // `payload` as it lies behind the type; a key that is there is replaced.
  void Set(const std::string& key, GgufType type, std::string payload) {
    Remove(key);
    Append(key, type, std::move(payload));
  }
  void Append(const std::string& key, GgufType type, const std::string& payload) {
    values_.emplace_back(key, Bytes(type) + payload);
  }
  void Remove(const std::string& key) {
    std::erase_if(values_, [&](const auto& v) { return v.first == key; });
  }
  void U32(const std::string& key, uint32_t v) { Set(key, GgufType::kU32, Bytes(v)); }
  void U16(const std::string& key, uint16_t v) { Set(key, GgufType::kU16, Bytes(v)); }
  void I32(const std::string& key, int32_t v) { Set(key, GgufType::kI32, Bytes(v)); }
  void F32(const std::string& key, float v) { Set(key, GgufType::kF32, Bytes(v)); }
  void Bool(const std::string& key, bool v) { Set(key, GgufType::kBool, Bytes(v)); }
  void Str(const std::string& key, const std::string& v) { Set(key, GgufType::kString, Text(v)); }
  void Strings(const std::string& key, const std::vector<std::string>& v) {
    std::string payload = Bytes(GgufType::kString) + Bytes(uint64_t{v.size()});
    for (const std::string& s : v) payload += Text(s);
    Set(key, GgufType::kArray, payload);
  }
  template <typename T>
  void Array(const std::string& key, GgufType element, const std::vector<T>& v) {
    std::string payload = Bytes(element) + Bytes(uint64_t{v.size()});
    for (const T& x : v) payload += Bytes(x);
    Set(key, GgufType::kArray, payload);
  }

  // Values uniform in [mean - spread, mean + spread), seeded by the name.
  void F32Tensor(const std::string& name, const std::vector<int64_t>& dims, float mean, float spread) {
    Rng rng(name);
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    std::string data;
    for (int64_t i = 0; i < n; ++i) data += Bytes(rng.Uniform(mean - spread, mean + spread));
    tensors.push_back({name, dims, 0, std::move(data), std::nullopt});
  }
  Tensor& Find(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  }

  std::string Build() const {
    std::string out =
        magic + Bytes(version) + Bytes(n_tensors.value_or(tensors.size())) + Bytes(n_values.value_or(values_.size()));
    for (const auto& [key, value] : values_) out += Text(key) + value;
    uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      out += Text(t.name) + Bytes(static_cast<uint32_t>(t.dims.size()));
      for (const int64_t d : t.dims) out += Bytes(d);
      out += Bytes(t.type) + Bytes(t.offset.value_or(offset));
      offset += Padded(t.data.size());
    }
    out.resize(Padded(out.size()));
    for (const Tensor& t : tensors) {
      out += t.data;
      out.resize(Padded(out.size()));
    }
    return out;
  }

  void Write(const std::string& path) const {
    const std::string bytes = Build();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  size_t Padded(size_t n) const { return (n + alignment - 1) / alignment * alignment; }
  std::vector<std::pair<std::string, std::string>> values_;
};

// The parts that llama-gguf-split makes of a file: all metadata in the first, tensors cut into n runs.
inline std::vector<GgufWriter> Split(const GgufWriter& whole, size_t n) {
  std::vector<GgufWriter> parts(n);
  parts[0] = whole;
  parts[0].tensors.clear();
  for (size_t i = 0; i < whole.tensors.size(); ++i) {
    parts[i * n / whole.tensors.size()].tensors.push_back(whole.tensors[i]);
  }
  for (size_t i = 0; i < n; ++i) {
    parts[i].U16("split.no", static_cast<uint16_t>(i));
    parts[i].U16("split.count", static_cast<uint16_t>(n));
    parts[i].I32("split.tensors.count", static_cast<int32_t>(whole.tensors.size()));
  }
  return parts;
}

// Enough of a vocabulary for libllama: "llama" (every byte) or "gpt2" (two letters and a merge), 300 tokens.
inline void AddTokenizer(GgufWriter& w, const std::string& model) {
  constexpr int kTokens = 300;
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  const auto add = [&](const std::string& text, int32_t type) {
    tokens.push_back(text);
    types.push_back(type);
  };
  add("<unk>", 2), add("<s>", 3), add("</s>", 3);
  if (model == "llama") {
    constexpr const char* kHex = "0123456789ABCDEF";
    for (int b = 0; b < 256; ++b) add(std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">", 6);
    w.Array("tokenizer.ggml.scores", GgufType::kF32, std::vector<float>(kTokens, 0.0f));
  } else {
    add("a", 1), add("b", 1), add("ab", 1);
    w.Str("tokenizer.ggml.pre", "default");
    w.Strings("tokenizer.ggml.merges", {"a b"});
  }
  while (tokens.size() < kTokens) add("word" + std::to_string(tokens.size()), 1);
  w.Str("tokenizer.ggml.model", model);
  w.Strings("tokenizer.ggml.tokens", tokens);
  w.Array("tokenizer.ggml.token_type", GgufType::kI32, types);
  w.U32("tokenizer.ggml.bos_token_id", 1);
  w.U32("tokenizer.ggml.eos_token_id", 2);
}

// In place of a dense FFN of TinyModel: 6 experts of 16, 2 for each token.
inline void AddExperts(GgufWriter& w, const std::string& architecture) {
  w.U32(architecture + ".expert_count", 6);
  w.U32(architecture + ".expert_used_count", 2);
  for (int l = 0; l < 3; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".ffn_";
    std::erase_if(w.tensors, [&](const auto& t) { return t.name.starts_with(blk) && t.name != blk + "norm.weight"; });
    w.F32Tensor(blk + "gate_inp.weight", {32, 6}, 0, 0.5f);
    w.F32Tensor(blk + "gate_exps.weight", {32, 16, 6}, 0, 0.4f);
    w.F32Tensor(blk + "up_exps.weight", {32, 16, 6}, 0, 0.4f);
    w.F32Tensor(blk + "down_exps.weight", {16, 32, 6}, 0, 0.5f);
  }
}

// A valid random model of 3 layers, d_model 32, 4 query and 2 kv heads of 16 (qwen2, phi3: 8), d_ff 48, 300 tokens.
// gemma3: layers 0 and 1 slide over 8 tokens, layer 2 is global; gemma2: layers 0 and 2 slide, layer 1 is global.
inline GgufWriter TinyModel(const std::string& architecture) {
  const bool gemma = architecture == "gemma2" || architecture == "gemma3", phi3 = architecture == "phi3";
  const bool qwen2 = architecture == "qwen2", qwen3 = architecture.starts_with("qwen3");
  const int64_t head_dim = qwen2 || phi3 ? 8 : 16, q_dim = 4 * head_dim, kv_dim = 2 * head_dim;
  GgufWriter w;
  const std::string arch = architecture + ".";
  w.Str("general.architecture", architecture);
  w.Str("general.name", "tiny " + architecture);
  w.U32(arch + "block_count", 3);
  w.U32(arch + "context_length", 512);
  w.U32(arch + "embedding_length", 32);
  w.U32(arch + "feed_forward_length", 48);
  w.U32(arch + "attention.head_count", 4);
  w.U32(arch + "attention.head_count_kv", 2);
  w.U32(arch + "attention.key_length", static_cast<uint32_t>(head_dim));
  w.U32(arch + "attention.value_length", static_cast<uint32_t>(head_dim));
  w.F32(arch + "attention.layer_norm_rms_epsilon", 1e-5f);
  w.U32(arch + "rope.dimension_count", static_cast<uint32_t>(phi3 ? 6 : head_dim));
  if (gemma) w.U32(arch + "attention.sliding_window", 8);
  if (architecture == "gemma3") w.U32(arch + "attention.sliding_window_pattern", 3);
  AddTokenizer(w, gemma || phi3 ? "llama" : "gpt2");
  w.F32Tensor("token_embd.weight", {32, 300}, 0, 0.5f);
  w.F32Tensor("output_norm.weight", {32}, 1, 0.2f);
  for (int l = 0; l < 3; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    w.F32Tensor(blk + "attn_norm.weight", {32}, 1, 0.2f);
    if (phi3) {
      w.F32Tensor(blk + "attn_qkv.weight", {32, q_dim + 2 * kv_dim}, 0, 0.5f);
    } else {
      w.F32Tensor(blk + "attn_q.weight", {32, q_dim}, 0, 0.5f);
      w.F32Tensor(blk + "attn_k.weight", {32, kv_dim}, 0, 0.5f);
      w.F32Tensor(blk + "attn_v.weight", {32, kv_dim}, 0, 0.5f);
    }
    w.F32Tensor(blk + "attn_output.weight", {q_dim, 32}, 0, 0.3f);
    w.F32Tensor(blk + "ffn_norm.weight", {32}, 1, 0.2f);
    if (!phi3) w.F32Tensor(blk + "ffn_gate.weight", {32, 48}, 0, 0.4f);
    w.F32Tensor(blk + "ffn_up.weight", {32, phi3 ? 96 : 48}, 0, 0.4f);
    w.F32Tensor(blk + "ffn_down.weight", {48, 32}, 0, 0.3f);
    if (qwen2) {
      w.F32Tensor(blk + "attn_q.bias", {q_dim}, 0, 1.0f);
      w.F32Tensor(blk + "attn_k.bias", {kv_dim}, 0, 1.0f);
      w.F32Tensor(blk + "attn_v.bias", {kv_dim}, 0, 1.0f);
    }
    if (qwen3 || architecture == "gemma3") {
      w.F32Tensor(blk + "attn_q_norm.weight", {16}, 1, 0.2f);
      w.F32Tensor(blk + "attn_k_norm.weight", {16}, 1, 0.2f);
    }
    if (!gemma) continue;
    w.F32Tensor(blk + "post_attention_norm.weight", {32}, 1, 0.2f);
    w.F32Tensor(blk + "post_ffw_norm.weight", {32}, 1, 0.2f);
  }
  if (architecture == "qwen3moe") {
    AddExperts(w, architecture);
    w.U32(arch + "expert_feed_forward_length", 16);
  }
  return w;
}

}  // namespace arkvale::testing
