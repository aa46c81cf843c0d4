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

std::string ShapeText(int64_t cols, int64_t rows) {
  std::string text = std::to_string(cols);
  if (rows != 1) text.append(" x ").append(std::to_string(rows));
  return text;
}

// Looks tensors up by name and remembers which were asked for; the first failure sticks.
class Binder {
 public:
  explicit Binder(const GgufView& file) : file_(file) {}

  bool Has(const std::string& name) const { return file_.FindTensor(name) != nullptr; }

  WeightView Matrix(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor* t = Find(name, rows, cols);
    if (t == nullptr) return {};
    if (!MatmulSupports(t->ggml_type)) {
      Fail(InvalidArgument(file_.name() + ": tensor '" + name + "' has type " + GgmlTypeName(t->ggml_type) +
                           ", which is not supported"));
      return {};
    }
    return file_.Weight(*t);
  }

  const float* Vector(const std::string& name, int64_t n) {
    const GgufTensor* t = Find(name, 1, n);
    if (t == nullptr) return nullptr;
    if (t->ggml_type != GGML_TYPE_F32) {
      Fail(InvalidArgument(file_.name() + ": tensor '" + name + "' has type " + GgmlTypeName(t->ggml_type) +
                           ", expected f32"));
      return nullptr;
    }
    return static_cast<const float*>(file_.Weight(*t).data);
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

  const GgufTensor* Find(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor* t = file_.FindTensor(name);
    if (t == nullptr) {
      Fail(file_.Error("tensor '" + name + "' is missing"));
      return nullptr;
    }
    asked_.insert(t->name);
    if (t->shape != std::array<int64_t, 4>{cols, rows, 1, 1}) {
      Fail(file_.Error("tensor '" + name + "' has shape " + ShapeText(t->shape[0], t->shape[1]) + ", expected " +
                       ShapeText(cols, rows)));
      return nullptr;
    }
    return t;
  }

  const GgufView& file_;
  std::unordered_set<std::string_view> asked_;
  Status status_;
};

LayerWeights BindLayer(Binder& bind, const ModelConfig& c, int32_t layer) {
  const std::string blk = "blk." + std::to_string(layer) + ".";
  const int64_t q_dim = int64_t{c.n_q_heads} * c.head_dim_k;
  LayerWeights w;
  w.attn_norm = bind.Vector(blk + "attn_norm.weight", c.d_model);
  w.q = bind.Matrix(blk + "attn_q.weight", q_dim, c.d_model);
  w.k = bind.Matrix(blk + "attn_k.weight", int64_t{c.n_kv_heads} * c.head_dim_k, c.d_model);
  w.v = bind.Matrix(blk + "attn_v.weight", int64_t{c.n_kv_heads} * c.head_dim_v, c.d_model);
  w.o = bind.Matrix(blk + "attn_output.weight", c.d_model, int64_t{c.n_q_heads} * c.head_dim_v);
  w.ffn_norm = bind.Vector(blk + "ffn_norm.weight", c.d_model);
  w.gate = bind.Matrix(blk + "ffn_gate.weight", c.d_ff, c.d_model);
  w.up = bind.Matrix(blk + "ffn_up.weight", c.d_ff, c.d_model);
  w.down = bind.Matrix(blk + "ffn_down.weight", c.d_model, c.d_ff);
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

}  // namespace

Result<Weights> BindWeights(const GgufView& file, const ModelConfig& c) {
  Binder bind(file);
  Weights w;
  w.embedding = bind.Matrix("token_embd.weight", c.n_vocab, c.d_model);
  const bool tied = !bind.Has("output.weight");
  w.output = tied ? w.embedding : bind.Matrix("output.weight", c.n_vocab, c.d_model);
  w.output_norm = bind.Vector("output_norm.weight", c.d_model);
  // Gemma's layers would not share one table: its file has none and libllama would not read it.
  if (c.architecture == "llama" && bind.Has("rope_freqs.weight")) {
    w.rope_factors = bind.Vector("rope_freqs.weight", c.layers[0].rope.n_rot / 2);
  }
  for (int32_t l = 0; l < c.n_layers; ++l) w.layers.push_back(BindLayer(bind, c, l));
  ARKVALE_RETURN_IF_ERROR(bind.Finish());
  for (const GgufTensor& t : file.tensors()) w.total_bytes += static_cast<int64_t>(t.n_bytes);
  w.step_bytes = w.total_bytes - (tied ? 0 : w.embedding.rows * w.embedding.row_bytes);
  return w;
}

}  // namespace arkvale
