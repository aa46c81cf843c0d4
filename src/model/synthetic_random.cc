#include "model/synthetic_random.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>

#include "base/rng.h"
#include "ggml.h"
#include "model/synthetic_vocab.h"

namespace arkvale {

namespace {

constexpr float kRopeFactor = 4.0f;              // linear and yarn
constexpr int64_t kLlama3TrainedContext = 8192;  // before its frequencies were stretched by 8
constexpr int64_t kStretch = 8;                  // context over trained context of llama3 and longrope

// A sum of three uniforms, which every machine rounds alike: standard deviation 1, within +-3.
float Gaussian(Rng& rng) {
  const uint64_t r = rng.Next();
  constexpr uint64_t kMask = (1u << 21) - 1;
  const auto sum = static_cast<int64_t>((r & kMask) + ((r >> 21) & kMask) + ((r >> 42) & kMask));
  return static_cast<float>(2 * sum - 3 * static_cast<int64_t>(kMask)) * 0x1p-21f;
}

// Random blocks of a type: quantised once, used over and over in other orders.
class BlockPool {
 public:
  static constexpr int64_t kElements = 1 << 17;  // no matrix of the tiny models repeats a block

  BlockPool(int32_t type, float sigma, uint64_t seed) {
    const auto ggml = static_cast<enum ggml_type>(type);
    block_elements_ = std::max<int64_t>(32, ggml_blck_size(ggml));
    block_bytes_ = static_cast<int64_t>(ggml_row_size(ggml, block_elements_));
    n_blocks_ = kElements / block_elements_;
    Rng rng("synth/" + std::to_string(seed) + "/blocks");
    std::vector<float> values(kElements);
    for (float& v : values) v = sigma * Gaussian(rng);
    const std::vector<float> importance(static_cast<size_t>(block_elements_), 1.0f);
    blocks_.resize(static_cast<size_t>(n_blocks_ * block_bytes_));
    ggml_quantize_chunk(ggml, values.data(), blocks_.data(), 0, n_blocks_, block_elements_, importance.data());
  }

  // Rows [first, first + n) of the matrix `name`. A pass over the pool takes each block once, in an order of its own.
  void Fill(uint64_t name, int64_t cols, int64_t first, int64_t n, std::byte* out) const {
    const int64_t row_blocks = cols / block_elements_;
    const auto mask = static_cast<uint64_t>(n_blocks_ - 1);
    uint64_t pass = ~uint64_t{0}, step = 1, shift = 0;
    for (int64_t i = first * row_blocks; i < (first + n) * row_blocks; ++i) {
      if (const uint64_t now = static_cast<uint64_t>(i / n_blocks_); now != pass) {
        pass = now;
        Rng rng(name + pass * 0x9E3779B97F4A7C15ull);
        step = rng.Next() | 1;
        shift = rng.Next();
      }
      const uint64_t block = (step * static_cast<uint64_t>(i) + shift) & mask;
      std::memcpy(out, blocks_.data() + block * static_cast<uint64_t>(block_bytes_), static_cast<size_t>(block_bytes_));
      out += block_bytes_;
    }
  }

 private:
  int64_t block_elements_ = 0, block_bytes_ = 0, n_blocks_ = 0;  // n_blocks_ is a power of two
  std::vector<std::byte> blocks_;
};

// llama 3.1's divisors of the rotary frequencies: high ones stay, low ones are divided by 8, smooth between.
std::vector<float> Llama3Factors(int64_t n_rot, float freq_base) {
  std::vector<float> factors;
  for (int64_t i = 0; i < n_rot / 2; ++i) {
    const double wavelength =
        2 * std::numbers::pi *
        std::pow(static_cast<double>(freq_base), 2.0 * static_cast<double>(i) / static_cast<double>(n_rot));
    const double turns = static_cast<double>(kLlama3TrainedContext) / wavelength;
    const double keep = std::clamp((turns - 1) / (4 - 1), 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - keep) / kStretch + keep)));
  }
  return factors;
}

class TensorList {
 public:
  explicit TensorList(const RandomModel& model) : model_(model) {
    const float fan_in = 1.0f / std::sqrt(static_cast<float>(model.shape.d_model));
    pool_ = std::make_shared<BlockPool>(model.ggml_type, fan_in, model.seed);
    unit_pool_ = model.arch.scaled_embedding ? pool_ : std::make_shared<BlockPool>(model.ggml_type, 1.0f, model.seed);
  }

  // From row `end` on (if given) every weight is zero.
  void Matrix(const std::string& name, std::vector<int64_t> shape, int64_t end = -1) {
    Add(name, std::move(shape), pool_, end);
  }
  void Embedding(const std::string& name, std::vector<int64_t> shape) { Add(name, std::move(shape), unit_pool_, -1); }

  void Vector(const std::string& name, std::vector<float> values) {
    const auto n = static_cast<int64_t>(values.size());
    Exact(name, {n}, std::move(values));
  }
  // Uniform in [mean - spread, mean + spread), f32 whatever the type of the model.
  void Random(const std::string& name, std::vector<int64_t> shape, float mean, float spread) {
    Rng rng = For(name);
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = rng.Uniform(mean - spread, mean + spread);
    Exact(name, std::move(shape), std::move(values));
  }
  void Norm(const std::string& name, int64_t n, float gain) { Random(name, {n}, gain, 0.2f * gain); }

  std::vector<SyntheticTensor> Take() { return std::move(tensors_); }

 private:
  Rng For(const std::string& name) const { return Rng("synth/" + std::to_string(model_.seed) + "/" + name); }

  void Exact(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    const int64_t cols = shape[0];
    tensors_.push_back({name, std::move(shape), GGML_TYPE_F32,
                        [values = std::move(values), cols](int64_t first, int64_t n, std::byte* out) {
                          std::memcpy(out, values.data() + first * cols, static_cast<size_t>(n * cols) * sizeof(float));
                        }});
  }

  void Add(const std::string& name, std::vector<int64_t> shape, const std::shared_ptr<BlockPool>& pool, int64_t end) {
    const int64_t cols = shape[0];
    const auto row_bytes = static_cast<int64_t>(ggml_row_size(static_cast<enum ggml_type>(model_.ggml_type), cols));
    tensors_.push_back(
        {name, std::move(shape), model_.ggml_type,
         [pool, cols, end, row_bytes, state = For(name).state()](int64_t first, int64_t n, std::byte* out) {
           pool->Fill(state, cols, first, n, out);
           if (end < 0 || end >= first + n) return;
           const int64_t zeros = std::max(end, first);  // a block of zero bytes is zero in every type
           std::memset(out + (zeros - first) * row_bytes, 0, static_cast<size_t>((first + n - zeros) * row_bytes));
         }});
  }

  const RandomModel& model_;
  std::shared_ptr<BlockPool> pool_, unit_pool_;
  std::vector<SyntheticTensor> tensors_;
};

// Gains give attention scores a deviation of about 2 (a few tokens out of hundreds get the weight) and logits of 2.5.
constexpr float kSharp = 1.5f, kLogits = 2.5f;

void AddAttention(TensorList& list, const RandomModel& m, const std::string& blk) {
  const SyntheticShape& s = m.shape;
  const int64_t q_dim = s.n_q_heads * s.head_dim, kv_dim = s.n_kv_heads * s.head_dim;
  list.Norm(blk + "attn_norm.weight", s.d_model, m.arch.qk_norm ? 1.0f : kSharp);
  if (m.arch.fused) {
    list.Matrix(blk + "attn_qkv.weight", {s.d_model, q_dim + 2 * kv_dim});
  } else {
    list.Matrix(blk + "attn_q.weight", {s.d_model, q_dim});
    list.Matrix(blk + "attn_k.weight", {s.d_model, kv_dim});
    list.Matrix(blk + "attn_v.weight", {s.d_model, kv_dim});
  }
  if (m.arch.qkv_bias) {
    list.Random(blk + "attn_q.bias", {q_dim}, 0, 0.5f);
    list.Random(blk + "attn_k.bias", {kv_dim}, 0, 0.5f);
    list.Random(blk + "attn_v.bias", {kv_dim}, 0, 0.5f);
  }
  if (m.arch.qk_norm) {
    list.Norm(blk + "attn_q_norm.weight", s.head_dim, kSharp);
    list.Norm(blk + "attn_k_norm.weight", s.head_dim, kSharp);
  }
  list.Matrix(blk + "attn_output.weight", {q_dim, s.d_model});
  if (m.arch.post_norms) list.Norm(blk + "post_attention_norm.weight", s.d_model, 1.0f);
}

void AddFfn(TensorList& list, const RandomModel& m, const std::string& blk) {
  const SyntheticShape& s = m.shape;
  list.Norm(blk + "ffn_norm.weight", s.d_model, 1.0f);
  if (s.n_experts > 0) {
    list.Random(blk + "ffn_gate_inp.weight", {s.d_model, s.n_experts}, 0,
                2.0f / std::sqrt(static_cast<float>(s.d_model)));
    list.Matrix(blk + "ffn_gate_exps.weight", {s.d_model, s.d_ff, s.n_experts});
    list.Matrix(blk + "ffn_up_exps.weight", {s.d_model, s.d_ff, s.n_experts});
    list.Matrix(blk + "ffn_down_exps.weight", {s.d_ff, s.d_model, s.n_experts});
  } else if (m.arch.fused) {
    list.Matrix(blk + "ffn_up.weight", {s.d_model, 2 * s.d_ff});
    list.Matrix(blk + "ffn_down.weight", {s.d_ff, s.d_model});
  } else {
    list.Matrix(blk + "ffn_gate.weight", {s.d_model, s.d_ff});
    list.Matrix(blk + "ffn_up.weight", {s.d_model, s.d_ff});
    list.Matrix(blk + "ffn_down.weight", {s.d_ff, s.d_model});
  }
  if (m.arch.post_norms) list.Norm(blk + "post_ffw_norm.weight", s.d_model, 1.0f);
}

void AddRopeKeys(const RandomModel& m, const std::string& prefix, GgufFileWriter& file) {
  const auto trained = [&](int64_t factor) {
    file.U32(prefix + "rope.scaling.original_context_length",
             static_cast<uint32_t>(std::max<int64_t>(1, m.shape.context_tokens / factor)));
  };
  if (m.rope == "linear" || m.rope == "yarn") {
    file.String(prefix + "rope.scaling.type", m.rope);
    file.F32(prefix + "rope.scaling.factor", kRopeFactor);
    if (m.rope == "yarn") trained(static_cast<int64_t>(kRopeFactor));
  } else if (m.rope == "longrope") {
    trained(kStretch);
    file.F32(prefix + "rope.scaling.attn_factor", 1.19f);
  }
}

}  // namespace

void RandomModel::AddKeys(GgufFileWriter& file) const {
  const std::string prefix = std::string(arch.name) + ".";
  const auto u32 = [&](const char* key, int64_t v) { file.U32(prefix + key, static_cast<uint32_t>(v)); };
  u32("block_count", shape.n_layers);
  u32("context_length", shape.context_tokens);
  u32("embedding_length", shape.d_model);
  u32("feed_forward_length", shape.d_ff);
  u32("attention.head_count", shape.n_q_heads);
  u32("attention.head_count_kv", shape.n_kv_heads);
  u32("attention.key_length", shape.head_dim);
  u32("attention.value_length", shape.head_dim);
  u32("rope.dimension_count", shape.head_dim);
  file.F32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  file.F32(prefix + "rope.freq_base", shape.freq_base);
  AddRopeKeys(*this, prefix, file);
  if (arch.window > 0) u32("attention.sliding_window", arch.window);
  if (arch.window_pattern > 0) u32("attention.sliding_window_pattern", arch.window_pattern);
  if (arch.softcap) {
    file.F32(prefix + "attn_logit_softcapping", 5.0f);  // small enough to bend scores of a deviation of 2
    file.F32(prefix + "final_logit_softcapping", 10.0f);
  }
  if (shape.n_experts > 0) {
    u32("expert_count", shape.n_experts);
    u32("expert_used_count", shape.n_experts_used);
    u32("expert_feed_forward_length", shape.d_ff);
  }
}

std::vector<SyntheticTensor> RandomModel::Tensors() const {
  TensorList list(*this);
  list.Embedding("token_embd.weight", {shape.d_model, shape.n_vocab});
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    AddAttention(list, *this, blk);
    AddFfn(list, *this, blk);
  }
  const bool unit_output = shape.tied && !arch.scaled_embedding;  // embeddings of deviation 1 are the output matrix
  list.Norm("output_norm.weight", shape.d_model,
            unit_output ? kLogits / std::sqrt(static_cast<float>(shape.d_model)) : kLogits);
  // A greedy answer is made of bytes: specials and unused tokens have logits of 0.
  if (!shape.tied) list.Matrix("output.weight", {shape.d_model, shape.n_vocab}, 256);
  if (rope == "llama3") list.Vector("rope_freqs.weight", Llama3Factors(shape.head_dim, shape.freq_base));
  if (rope == "longrope") {
    std::vector<float> short_factors, long_factors;
    for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
      short_factors.push_back(1.0f + 0.02f * static_cast<float>(i));
      long_factors.push_back(1.0f + 0.5f * static_cast<float>(i));
    }
    list.Vector("rope_factors_long.weight", long_factors);
    list.Vector("rope_factors_short.weight", short_factors);
  }
  return list.Take();
}

}  // namespace arkvale
