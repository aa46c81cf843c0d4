#include "model/synthetic_induction.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string>

#include "ggml.h"
#include "model/synthetic_vocab.h"

namespace arkvale {

namespace {

constexpr float kConstantValue = 2.0f;
constexpr int64_t kCode = 16, kHead = 64, kModel = 128, kFfn = 32, kLayers = 4;
constexpr int32_t kWindow = 8;
// Fields of the residual stream.
constexpr int64_t kConstant = 0, kSpecial = 1, kNow = 16, kPrev1 = 32, kPrev2 = 48, kPrev4 = 80, kAnswer = 96;
// Frequencies 1 .. 1/4: no offset within the window but the right one has all of them in phase.
constexpr float kWindowFreqBase = 4.0f;
constexpr float kNoRotation = 1e20f;  // positions of the global layer are divided by it
constexpr float kLowNibble = 0.5f;    // length of its half of the code, the high nibble's is 1
constexpr float kCodeSquares = 8.0f * (1.0f + kLowNibble * kLowNibble);
constexpr float kLeastLoss = 8.0f * kLowNibble * kLowNibble;  // of a dot product of codes: equal high nibbles only
constexpr float kScoreGap = 32.0f;                            // between the right token's score and the next one's
// The query's norm makes the gap: q.k of norms kHead each, divided by sqrt(kHead), loses kLeastLoss of 4 kCodeSquares.
constexpr float kSharp = kScoreGap * 8.0f * 4.0f * kCodeSquares / (kLeastLoss * 64.0f);
constexpr float kLogitGap = 20.0f;  // between the right byte and the next one

using Code = std::array<float, kCode>;

// Row-major [rows, cols], a weight from input column to output row.
struct Dense {
  Dense(int64_t rows, int64_t cols) : cols(cols), values(static_cast<size_t>(rows * cols)) {}
  float& At(int64_t row, int64_t col) { return values[static_cast<size_t>(row * cols + col)]; }
  // Copies n input columns from `from` on to the output rows from `to` on.
  void CopyField(int64_t from, int64_t to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) At(to + i, from + i) = 1.0f;
  }
  int64_t cols;
  std::vector<float> values;
};

// Word h of 16: row h % 8 of the Hadamard matrix, negated for h >= 8.
float Hadamard(uint32_t h, uint32_t t) {
  const bool odd = (std::popcount(h & 7u & t) + (h >> 3)) % 2 != 0;
  return odd ? -1.0f : 1.0f;
}

// Householder reflection I - 2 u u^T / u.u with u = (2, 1, ..., 1): orthogonal, and mild on words without a mean.
float Turn(uint32_t i, uint32_t j) {
  constexpr float kNorm2 = 11.0f;
  const float ui = i == 0 ? 2.0f : 1.0f, uj = j == 0 ? 2.0f : 1.0f;
  return (i == j ? 1.0f : 0.0f) - 2.0f * ui * uj / kNorm2;
}

Code ByteCode(uint32_t byte) {
  Code code{};
  for (uint32_t t = 0; t < 8; ++t) {
    code[t] = Hadamard(byte >> 4, t);
    for (uint32_t j = 0; j < 8; ++j) code[8 + t] += kLowNibble * Turn(t, j) * Hadamard(byte & 15u, j);
  }
  return code;
}

class TensorList {
 public:
  explicit TensorList(int32_t type) : type_(type) {}

  void Vector(const std::string& name, int64_t n, float value) {
    Add(name, {n}, GGML_TYPE_F32, std::vector<float>(static_cast<size_t>(n), value));
  }
  void Matrix(const std::string& name, Dense m) {
    const auto rows = static_cast<int64_t>(m.values.size()) / m.cols;
    Add(name, {m.cols, rows}, type_, std::move(m.values));
  }
  std::vector<SyntheticTensor> Take() { return std::move(tensors_); }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape, int32_t type, std::vector<float> values) {
    const int64_t cols = shape[0];
    tensors_.push_back({name, std::move(shape), type,
                        [values = std::move(values), cols, type](int64_t first, int64_t n, std::byte* out) {
                          ggml_quantize_chunk(static_cast<enum ggml_type>(type), values.data() + first * cols, out, 0,
                                              n, cols, nullptr);
                        }});
  }

  int32_t type_;
  std::vector<SyntheticTensor> tensors_;
};

Dense Embedding() {
  Dense e(kSyntheticVocab, kModel);
  const float scale = 1.0f / std::sqrt(static_cast<float>(kModel));  // the architecture multiplies by the inverse
  for (uint32_t token = 0; token < kSyntheticVocab; ++token) {
    e.At(token, kConstant) = kConstantValue * scale;
    if (token >= 256) {  // of a byte's length, so that all tokens have one norm, but like no byte
      e.At(token, kSpecial) = std::sqrt(kCodeSquares) * scale;
      continue;
    }
    const Code code = ByteCode(token);
    for (int64_t t = 0; t < kCode; ++t) e.At(token, kNow + t) = code[static_cast<size_t>(t)] * scale;
  }
  return e;
}

Dense Output() {
  Dense w(kSyntheticVocab, kModel);
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const Code code = ByteCode(byte);
    for (int64_t t = 0; t < kCode; ++t) w.At(byte, kAnswer + t) = code[static_cast<size_t>(t)];
  }
  return w;
}

// A head that looks `back` tokens back: key 1 in every pair, query the same turned `back` positions on.
void AddPositionalHead(TensorList& list, const std::string& blk, int back) {
  Dense q(kHead, kModel), k(kHead, kModel);
  for (int64_t i = 0; i < kHead / 2; ++i) {
    const double omega = std::pow(kWindowFreqBase, -2.0 * static_cast<double>(i) / kHead);
    // Rotation by the position p of the query gives (p - back) omega, the key's phase at that position.
    q.At(i, kConstant) = static_cast<float>(std::cos(omega * back));
    q.At(i + kHead / 2, kConstant) = static_cast<float>(-std::sin(omega * back));
    k.At(i, kConstant) = 1.0f;
  }
  list.Matrix(blk + "attn_q.weight", std::move(q));
  list.Matrix(blk + "attn_k.weight", std::move(k));
}

void AddMatchingHead(TensorList& list, const std::string& blk) {
  Dense q(kHead, kModel), k(kHead, kModel);
  q.CopyField(kNow, 0, kHead);
  k.CopyField(kPrev1, 0, kHead);
  list.Matrix(blk + "attn_q.weight", std::move(q));
  list.Matrix(blk + "attn_k.weight", std::move(k));
}

// The attended token's n_codes fields from `from` on become those from `to` on here.
void AddCopy(TensorList& list, const std::string& blk, int64_t from, int64_t to, int64_t n_codes) {
  const int64_t n = n_codes * kCode;
  Dense v(kHead, kModel), o(kModel, kHead);
  v.CopyField(from, 0, n);
  o.CopyField(0, to, n);
  list.Matrix(blk + "attn_v.weight", std::move(v));
  list.Matrix(blk + "attn_output.weight", std::move(o));
  // The norm behind the attention makes the squares sum to kModel.
  list.Vector(blk + "post_attention_norm.weight", kModel,
              std::sqrt(static_cast<float>(n_codes) * kCodeSquares / static_cast<float>(kModel)));
}

void AddEmptyFfn(TensorList& list, const std::string& blk) {
  list.Vector(blk + "ffn_norm.weight", kModel, 1.0f);
  list.Matrix(blk + "ffn_gate.weight", Dense(kFfn, kModel));
  list.Matrix(blk + "ffn_up.weight", Dense(kFfn, kModel));
  list.Matrix(blk + "ffn_down.weight", Dense(kModel, kFfn));
  list.Vector(blk + "post_ffw_norm.weight", kModel, 1.0f);
}

}  // namespace

void InductionModel::AddKeys(GgufFileWriter& file) const {
  const auto u32 = [&](const char* key, int64_t v) {
    file.U32(std::string("gemma3.") + key, static_cast<uint32_t>(v));
  };
  u32("block_count", kLayers);
  u32("context_length", context_tokens);
  u32("embedding_length", kModel);
  u32("feed_forward_length", kFfn);
  u32("attention.head_count", 1);
  u32("attention.head_count_kv", 1);
  u32("attention.key_length", kHead);
  u32("attention.value_length", kHead);
  u32("attention.sliding_window", kWindow);
  u32("attention.sliding_window_pattern", kLayers);
  file.F32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
  file.F32("gemma3.rope.freq_base", 10000.0f);
  file.F32("gemma3.rope.freq_base_swa", kWindowFreqBase);
  file.String("gemma3.rope.scaling.type", "linear");
  file.F32("gemma3.rope.scaling.factor", kNoRotation);
}

std::vector<SyntheticTensor> InductionModel::Tensors() const {
  TensorList list(ggml_type);
  list.Matrix("token_embd.weight", Embedding());
  for (int l = 0; l < kLayers; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    list.Vector(blk + "attn_norm.weight", kModel, 1.0f);
    list.Vector(blk + "attn_q_norm.weight", kHead, kSharp);
    list.Vector(blk + "attn_k_norm.weight", kHead, 1.0f);
    if (l < 3) {
      AddPositionalHead(list, blk, l + 1);
    } else {
      AddMatchingHead(list, blk);
    }
    if (l == 0) AddCopy(list, blk, kNow, kPrev1, 1);
    if (l == 1) AddCopy(list, blk, kNow, kPrev2, 2);
    if (l == 2) AddCopy(list, blk, kPrev1, kPrev4, 1);
    if (l == 3) AddCopy(list, blk, kNow, kAnswer, 1);
    AddEmptyFfn(list, blk);
  }
  const float stream_squares = kConstantValue * kConstantValue + 6 * kCodeSquares;  // now, prev1..prev4, answer
  list.Vector("output_norm.weight", kModel,
              kLogitGap / kLeastLoss * std::sqrt(stream_squares / static_cast<float>(kModel)));
  list.Matrix("output.weight", Output());
  return list.Take();
}

}  // namespace arkvale
