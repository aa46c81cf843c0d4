#include "model/weights.h"

#include <array>
#include <string>
#include <string_view>
#include <unordered_set>

#include "ggml.h"
#include "model/gguf_view.h"
#include "ops/matmul.h"

namespace arkvale {

namespace {

std::string ShapeText(const std::array<int64_t, 4>& shape) {
  size_t n_dims = shape.size();
  while (n_dims > 1 && shape[n_dims - 1] == 1) --n_dims;
  std::string text = std::to_string(shape[0]);
  for (size_t i = 1; i < n_dims; ++i) text.append(" x ").append(std::to_string(shape[i]));
  return text;
}

// Looks tensors up by name and remembers which were asked for; the first failure sticks.
class Binder {
 public:
  explicit Binder(const GgufView& file) : file_(file) {}

  bool Has(const std::string& name) const { return file_.FindTensor(name) != nullptr; }

  // `n` matrices (experts) are one tensor of three dimensions and one view of n * rows rows.
  WeightView Matrix(const std::string& name, int64_t rows, int64_t cols, int64_t n = 1) {
    const GgufTensor* t = Find(name, {cols, rows, n, 1});
    if (t == nullptr) return {};
    if (!MatmulSupports(t->ggml_type)) {
      Fail(InvalidArgument(file_.name() + ": tensor '" + name + "' has type " + GgmlTypeName(t->ggml_type) +
                           ", which is not supported"));
      return {};
    }
    return file_.Weight(*t);
  }

  const float* Vector(const std::string& name, int64_t n) {
    const GgufTensor* t = Find(name, {n, 1, 1, 1});
    if (t == nullptr) return nullptr;
    if (t->ggml_type != GGML_TYPE_F32) {
      Fail(InvalidArgument(file_.name() + ": tensor '" + name + "' has type " + GgmlTypeName(t->ggml_type) +
                           ", expected f32"));
      return nullptr;
    }
    return static_cast<const float*>(file_.Weight(*t).data);
  }

  const float* MaybeVector(const std::string& name, int64_t n) { return Has(name) ? Vector(name, n) : nullptr; }

  // `name`.weight and, where the file has it, `name`.bias.
  Linear Layer(const std::string& name, int64_t rows, int64_t cols) {
    return {Matrix(name + ".weight", rows, cols), MaybeVector(name + ".bias", rows)};
  }

  // Fails on the first tensor nobody asked for.
  Status Finish() {
    for (const GgufTensor& t : file_.tensors()) {
      if (!asked_.contains(t.name)) {
        Fail(InvalidArgument(file_.name() + ": tensor '" + std::string(t.name) +
                             "' is not part of the architectures that are supported"));
      }
    }
    return status_;
  }

 private:
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  const GgufTensor* Find(const std::string& name, const std::array<int64_t, 4>& shape) {
    const GgufTensor* t = file_.FindTensor(name);
    if (t == nullptr) {
      Fail(file_.Error("tensor '" + name + "' is missing"));
      return nullptr;
    }
    asked_.insert(t->name);
    if (t->shape != shape) {
      Fail(file_.Error("tensor '" + name + "' has shape " + ShapeText(t->shape) + ", expected " + ShapeText(shape)));
      return nullptr;
    }
    return t;
  }

  const GgufView& file_;
  std::unordered_set<std::string_view> asked_;
  Status status_;
};

// Rows [begin, begin + n) of a matrix that holds several; nothing of one that failed to bind.
Linear Rows(const Linear& fused, int64_t begin, int64_t n) {
  if (fused.weight.empty()) return {};
  return {RowSlice(fused.weight, begin, n), fused.bias == nullptr ? nullptr : fused.bias + begin};
}

void BindQkv(Binder& bind, const ModelConfig& c, const std::string& blk, LayerWeights& w) {
  const int64_t q_dim = int64_t{c.n_q_heads} * c.head_dim_k;
  const int64_t k_dim = int64_t{c.n_kv_heads} * c.head_dim_k, v_dim = int64_t{c.n_kv_heads} * c.head_dim_v;
  if (!bind.Has(blk + "attn_qkv.weight")) {
    w.q = bind.Layer(blk + "attn_q", q_dim, c.d_model);
    w.k = bind.Layer(blk + "attn_k", k_dim, c.d_model);
    w.v = bind.Layer(blk + "attn_v", v_dim, c.d_model);
    return;
  }
  const Linear fused = bind.Layer(blk + "attn_qkv", q_dim + k_dim + v_dim, c.d_model);
  w.q = Rows(fused, 0, q_dim);
  w.k = Rows(fused, q_dim, k_dim);
  w.v = Rows(fused, q_dim + k_dim, v_dim);
}

void BindFfn(Binder& bind, const ModelConfig& c, const std::string& blk, LayerWeights& w) {
  if (c.n_experts > 0) {
    w.router.weight = bind.Matrix(blk + "ffn_gate_inp.weight", c.n_experts, c.d_model);
    w.gate.weight = bind.Matrix(blk + "ffn_gate_exps.weight", c.d_ff_expert, c.d_model, c.n_experts);
    w.up.weight = bind.Matrix(blk + "ffn_up_exps.weight", c.d_ff_expert, c.d_model, c.n_experts);
    w.down.weight = bind.Matrix(blk + "ffn_down_exps.weight", c.d_model, c.d_ff_expert, c.n_experts);
    return;
  }
  if (c.fused_gate_up) {
    const Linear fused = bind.Layer(blk + "ffn_up", 2 * int64_t{c.d_ff}, c.d_model);
    w.gate = Rows(fused, 0, c.d_ff);
    w.up = Rows(fused, c.d_ff, c.d_ff);
  } else {
    w.gate = bind.Layer(blk + "ffn_gate", c.d_ff, c.d_model);
    w.up = bind.Layer(blk + "ffn_up", c.d_ff, c.d_model);
  }
  w.down = bind.Layer(blk + "ffn_down", c.d_model, c.d_ff);
}

LayerWeights BindLayer(Binder& bind, const ModelConfig& c, int32_t layer) {
  const std::string blk = "blk." + std::to_string(layer) + ".";
  LayerWeights w;
  w.attn_norm = bind.Vector(blk + "attn_norm.weight", c.d_model);
  BindQkv(bind, c, blk, w);
  w.o = bind.Layer(blk + "attn_output", c.d_model, int64_t{c.n_q_heads} * c.head_dim_v);
  w.ffn_norm = bind.Vector(blk + "ffn_norm.weight", c.d_model);
  BindFfn(bind, c, blk, w);
  if (c.qk_norm) {
    w.q_norm = bind.Vector(blk + "attn_q_norm.weight", c.head_dim_k);
    w.k_norm = bind.Vector(blk + "attn_k_norm.weight", c.head_dim_k);
  }
  if (c.post_norms) {
    w.attn_post_norm = bind.Vector(blk + "post_attention_norm.weight", c.d_model);
    w.ffn_post_norm = bind.Vector(blk + "post_ffw_norm.weight", c.d_model);
  }
  return w;
}

const float* BindRopeFactors(Binder& bind, const ModelConfig& c) {
  const int64_t n = c.layers[0].rope.n_rot / 2;
  switch (c.rope_factors) {
    case RopeFactors::kNone: return nullptr;
    case RopeFactors::kFreqs: return bind.MaybeVector("rope_freqs.weight", n);
    case RopeFactors::kShort:
    case RopeFactors::kLong: break;
  }
  const float* short_factors = bind.MaybeVector("rope_factors_short.weight", n);
  const float* long_factors = bind.MaybeVector("rope_factors_long.weight", n);
  return c.rope_factors == RopeFactors::kShort ? short_factors : long_factors;
}

// Bytes of the experts that a token does not go to.
int64_t IdleExpertBytes(const ModelConfig& c, const Weights& w) {
  if (c.n_experts == 0) return 0;
  int64_t bytes = 0;
  for (const LayerWeights& layer : w.layers) {
    for (const Linear* matrix : {&layer.gate, &layer.up, &layer.down}) {
      bytes += matrix->weight.rows * matrix->weight.row_bytes / c.n_experts * (c.n_experts - c.n_experts_used);
    }
  }
  return bytes;
}

}  // namespace

Result<Weights> BindWeights(const GgufView& file, const ModelConfig& c) {
  Binder bind(file);
  Weights w;
  w.embedding = bind.Matrix("token_embd.weight", c.n_vocab, c.d_model);
  const bool tied = !bind.Has("output.weight");
  w.output = tied ? Linear{w.embedding} : bind.Layer("output", c.n_vocab, c.d_model);
  w.output_norm = bind.Vector("output_norm.weight", c.d_model);
  w.rope_factors = BindRopeFactors(bind, c);
  for (int32_t l = 0; l < c.n_layers; ++l) w.layers.push_back(BindLayer(bind, c, l));
  ARKVALE_RETURN_IF_ERROR(bind.Finish());
  for (const GgufTensor& t : file.tensors()) w.total_bytes += static_cast<int64_t>(t.n_bytes);
  w.step_bytes = w.total_bytes - (tied ? 0 : w.embedding.rows * w.embedding.row_bytes) - IdleExpertBytes(c, w);
  return w;
}

}  // namespace arkvale
