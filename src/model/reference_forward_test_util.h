// For tests: the forward pass in double, token by token, from the formulas of the papers and from nothing of src/ops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/f16.h"
#include "model/config.h"
#include "model/gguf_test_util.h"

namespace arkvale::testing {

using Vector = std::vector<double>;

class NaiveModel {
 public:
  // `file` has f32 tensors only.
  // `f16_kv`: keys and values are rounded as the cache stores them.
  NaiveModel(const GgufWriter& file, const ModelConfig& config, bool f16_kv) : c_(config), f16_kv_(f16_kv) {
    for (const auto& t : file.tensors) {
      std::vector<float> values(t.data.size() / sizeof(float));
      std::memcpy(values.data(), t.data.data(), t.data.size());
      tensors_[t.name] = Vector(values.begin(), values.end());
    }
    keys_.resize(c_.layers.size());
    values_.resize(c_.layers.size());
  }

  // Logits after one more token.
  Vector Forward(int32_t token) {
    const Vector& table = tensors_.at("token_embd.weight");
    Vector x(table.begin() + token * c_.d_model, table.begin() + (token + 1) * c_.d_model);
    for (double& v : x) v *= c_.embedding_scale;
    for (size_t l = 0; l < c_.layers.size(); ++l) Layer(l, x);
    Vector logits = Linear(tensors_.contains("output.weight") ? "output" : "token_embd", Norm(x, "output_norm.weight"));
    if (c_.final_softcap > 0) {
      for (double& v : logits) v = c_.final_softcap * std::tanh(v / c_.final_softcap);
    }
    return logits;
  }

 private:
  // Rows [first, first + n) of a matrix times x, plus the bias where the file has one; n = 0: all rows.
  Vector Linear(const std::string& name, const Vector& x, size_t first = 0, size_t n = 0) const {
    const Vector& w = tensors_.at(name + ".weight");
    const auto bias = tensors_.find(name + ".bias");
    Vector y(n != 0 ? n : w.size() / x.size());
    for (size_t i = 0; i < y.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) y[i] += w[(first + i) * x.size() + j] * x[j];
      if (bias != tensors_.end()) y[i] += bias->second[first + i];
    }
    return y;
  }

  Vector Norm(const Vector& x, const std::string& name) const {
    const Vector& w = tensors_.at(name);
    double sum = 0;
    for (const double v : x) sum += v * v;
    Vector y = x;
    for (size_t i = 0; i < x.size(); ++i) y[i] *= w[i] / std::sqrt(sum / static_cast<double>(x.size()) + c_.rms_eps);
    return y;
  }

  static Vector Head(const Vector& x, int h, int d) { return {x.begin() + h * d, x.begin() + (h + 1) * d}; }

  const Vector* RopeDivisors() const {
    static const std::map<RopeFactors, std::string> kNames = {{RopeFactors::kNone, ""},
                                                              {RopeFactors::kFreqs, "rope_freqs.weight"},
                                                              {RopeFactors::kShort, "rope_factors_short.weight"},
                                                              {RopeFactors::kLong, "rope_factors_long.weight"}};
    const auto at = tensors_.find(kNames.at(c_.rope_factors));
    return at == tensors_.end() ? nullptr : &at->second;
  }

  Vector Rotate(Vector head, const RopeParams& rope, size_t position) const {
    for (int j = 0; j < rope.n_rot / 2; ++j) {
      double angle = static_cast<double>(position) * std::pow(rope.freq_base, -2.0 * j / rope.n_rot);
      if (RopeDivisors() != nullptr) angle /= (*RopeDivisors())[static_cast<size_t>(j)];
      double ramp = 1;
      if (rope.yarn) {
        ramp = j <= rope.ramp_low    ? 0
               : j >= rope.ramp_high ? 1
                                     : (j - rope.ramp_low) / (rope.ramp_high - rope.ramp_low);
      }
      angle *= (1 - ramp) + ramp * rope.freq_scale;
      const bool norm = rope.kind == RopeKind::kNorm;
      double& a = head[static_cast<size_t>(norm ? 2 * j : j)];
      double& b = head[static_cast<size_t>(norm ? 2 * j + 1 : j + rope.n_rot / 2)];
      const double a0 = a * rope.magnitude, b0 = b * rope.magnitude;
      a = a0 * std::cos(angle) - b0 * std::sin(angle);
      b = a0 * std::sin(angle) + b0 * std::cos(angle);
    }
    return head;
  }

  static void RoundToF16(Vector& x) {
    for (double& v : x) v = F16ToF32(F32ToF16(static_cast<float>(v)));
  }

  void Layer(size_t l, Vector& x) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    const LayerConfig& layer = c_.layers[l];
    Vector h = Norm(x, blk + "attn_norm.weight");
    Vector q, k, v;
    if (tensors_.contains(blk + "attn_qkv.weight")) {
      const size_t n_q = c_.n_q_heads * c_.head_dim_k, n_k = c_.n_kv_heads * c_.head_dim_k;
      q = Linear(blk + "attn_qkv", h, 0, n_q);
      k = Linear(blk + "attn_qkv", h, n_q, n_k);
      v = Linear(blk + "attn_qkv", h, n_q + n_k, c_.n_kv_heads * c_.head_dim_v);
    } else {
      q = Linear(blk + "attn_q", h);
      k = Linear(blk + "attn_k", h);
      v = Linear(blk + "attn_v", h);
    }
    const size_t position = keys_[l].size();
    Vector rotated_k;
    for (int head = 0; head < c_.n_kv_heads; ++head) {
      Vector key = Head(k, head, c_.head_dim_k);
      if (c_.qk_norm) key = Norm(key, blk + "attn_k_norm.weight");
      key = Rotate(key, layer.rope, position);
      rotated_k.insert(rotated_k.end(), key.begin(), key.end());
    }
    if (f16_kv_) {
      RoundToF16(rotated_k);
      RoundToF16(v);
    }
    keys_[l].push_back(rotated_k);
    values_[l].push_back(v);

    Vector attended;
    for (int head = 0; head < c_.n_q_heads; ++head) {
      Vector query = Head(q, head, c_.head_dim_k);
      if (c_.qk_norm) query = Norm(query, blk + "attn_q_norm.weight");
      const Vector out = Attend(l, head / (c_.n_q_heads / c_.n_kv_heads), Rotate(query, layer.rope, position));
      attended.insert(attended.end(), out.begin(), out.end());
    }
    Vector y = Linear(blk + "attn_output", attended);
    if (c_.post_norms) y = Norm(y, blk + "post_attention_norm.weight");
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];

    h = Norm(x, blk + "ffn_norm.weight");
    y = c_.n_experts > 0 ? Experts(blk, h) : DenseFfn(blk, h);
    if (c_.post_norms) y = Norm(y, blk + "post_ffw_norm.weight");
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  Vector Gated(Vector gate, const Vector& up) const {
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i];
      const double silu = g / (1 + std::exp(-g));
      const double gelu = 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
      gate[i] = (c_.glu == GluKind::kSilu ? silu : gelu) * up[i];
    }
    return gate;
  }

  Vector DenseFfn(const std::string& blk, const Vector& h) const {
    if (tensors_.contains(blk + "ffn_gate.weight")) {
      return Linear(blk + "ffn_down", Gated(Linear(blk + "ffn_gate", h), Linear(blk + "ffn_up", h)));
    }
    const size_t n = c_.d_ff;  // phi3: gate and up in one matrix
    return Linear(blk + "ffn_down", Gated(Linear(blk + "ffn_up", h, 0, n), Linear(blk + "ffn_up", h, n, n)));
  }

  Vector Experts(const std::string& blk, const Vector& h) const {
    Vector probability = Linear(blk + "ffn_gate_inp", h);
    double sum = 0;
    for (double& p : probability) sum += p = std::exp(p);
    for (double& p : probability) p /= sum;
    std::vector<size_t> order(probability.size());
    for (size_t e = 0; e < order.size(); ++e) order[e] = e;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return probability[a] > probability[b]; });
    order.resize(c_.n_experts_used);
    double chosen = 0;
    for (const size_t e : order) chosen += probability[e];
    Vector y(h.size());
    const size_t n = c_.d_ff_expert;
    for (const size_t e : order) {
      const Vector hidden = Gated(Linear(blk + "ffn_gate_exps", h, e * n, n), Linear(blk + "ffn_up_exps", h, e * n, n));
      const Vector out = Linear(blk + "ffn_down_exps", hidden, e * h.size(), h.size());
      for (size_t i = 0; i < y.size(); ++i) y[i] += probability[e] / chosen * out[i];
    }
    return y;
  }

  Vector Attend(size_t l, int kv_head, const Vector& q) const {
    const size_t n = keys_[l].size(), window = static_cast<size_t>(c_.layers[l].window);
    const size_t first = window != 0 && n > window ? n - window : 0;
    Vector out(static_cast<size_t>(c_.head_dim_v));
    double sum = 0;
    for (size_t t = first; t < n; ++t) {
      const Vector key = Head(keys_[l][t], kv_head, c_.head_dim_k), value = Head(values_[l][t], kv_head, c_.head_dim_v);
      double score = 0;
      for (size_t i = 0; i < q.size(); ++i) score += q[i] * key[i];
      score *= c_.attention_scale;
      if (c_.attention_softcap > 0) score = c_.attention_softcap * std::tanh(score / c_.attention_softcap);
      const double weight = std::exp(score);  // scores of tiny models do not overflow
      sum += weight;
      for (size_t i = 0; i < out.size(); ++i) out[i] += weight * value[i];
    }
    for (double& o : out) o /= sum;
    return out;
  }

  const ModelConfig& c_;
  const bool f16_kv_;
  std::map<std::string, Vector> tensors_;
  std::vector<std::vector<Vector>> keys_, values_;  // per layer, per token: all kv heads
};

inline std::vector<float> ReferenceForward(const GgufWriter& file, const ModelConfig& config,
                                           const std::vector<int32_t>& ids, bool f16_kv = true) {
  NaiveModel model(file, config, f16_kv);
  std::vector<float> all;
  for (const int32_t id : ids) {
    const Vector row = model.Forward(id);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

}  // namespace arkvale::testing
