#include "ops/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/f16.h"

namespace arkvale::reference {
namespace {

// Element i of a row of n.
double Element(const std::byte* row, DType dtype, int64_t n, int64_t i) {
  if (IsQuantised(dtype)) {
    const int64_t block = i / kQuantBlock, in_block = i % kQuantBlock;
    f16_t scale = 0;
    const int64_t codes = dtype == DType::kQ8 ? n : n / 2;
    std::memcpy(&scale, row + codes + block * static_cast<int64_t>(sizeof(scale)), sizeof(scale));
    if (dtype == DType::kQ8) return double{F16ToF32(scale)} * static_cast<int8_t>(row[i]);
    const auto both = static_cast<int>(row[block * 16 + in_block % 16]);
    return double{F16ToF32(scale)} * ((in_block < 16 ? both % 16 : both / 16) - 8);
  }
  if (dtype == DType::kF16) return F16ToF32(reinterpret_cast<const f16_t*>(row)[i]);
  return reinterpret_cast<const float*>(row)[i];
}

struct Token {
  const std::byte *k, *v;
  int64_t position;
};

std::vector<Token> ListTokens(const PagedKv& kv, int32_t row, int32_t head, int64_t from, int64_t to) {
  std::vector<Token> tokens;
  for (int64_t i = kv.page_begin[row]; i < kv.page_begin[row + 1]; ++i) {
    const bool first = i == kv.page_begin[row], last = i + 1 == kv.page_begin[row + 1];
    const int32_t begin = first && kv.first_page_skip != nullptr ? kv.first_page_skip[row] : 0;
    const int32_t end = last ? kv.last_page_tokens[row] : kv.page_tokens;
    const std::byte* k = KeyPage(kv, kv.page_ids[i], kv.head0[row] + head);
    const std::byte* v = ValuePage(kv, kv.page_ids[i], kv.head0[row] + head);
    for (int32_t t = begin; t < end; ++t) {
      const int64_t position = kv.page_positions == nullptr ? 0 : kv.page_positions[i] + t;
      if (position < from || position > to) continue;
      tokens.push_back({k + t * KeyRowBytes(kv), v + t * ValueRowBytes(kv), position});
    }
  }
  return tokens;
}

}  // namespace

Attended Attend(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale, int64_t from, int64_t to,
                double softcap) {
  Attended result{std::vector<double>(kv.head_dim_v, 0.0), -std::numeric_limits<double>::infinity(), 0, 0};
  const std::vector<Token> tokens = ListTokens(kv, row, head, from, to);
  if (tokens.empty()) return result;
  std::vector<double> scores;
  for (const Token& token : tokens) {
    double dot = 0;
    for (int32_t t = 0; t < kv.head_dim_k; ++t) dot += double{q[t]} * Element(token.k, kv.dtype, kv.head_dim_k, t);
    const double score = softcap > 0 ? softcap * std::tanh(scale * dot / softcap) : scale * dot;
    scores.push_back(score);
    result.top = std::max(result.top, std::abs(scale * dot));
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - max);
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (int32_t t = 0; t < kv.head_dim_v; ++t) {
      const double v = Element(tokens[i].v, kv.dtype, kv.head_dim_v, t);
      result.out[t] += scores[i] / sum * v;
      result.largest_value = std::max(result.largest_value, std::abs(v));
    }
  }
  result.lse = max + std::log(sum);
  return result;
}

std::vector<TokenScore> TokenScores(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale,
                                    double softcap, int64_t to) {
  std::vector<TokenScore> scores;
  for (const Token& token : ListTokens(kv, row, head, 0, to)) {
    double dot = 0;
    for (int32_t t = 0; t < kv.head_dim_k; ++t) dot += double{q[t]} * Element(token.k, kv.dtype, kv.head_dim_k, t);
    const double score = softcap > 0 ? softcap * std::tanh(scale * dot / softcap) : scale * dot;
    scores.push_back({token.position, score, scale * dot});
  }
  return scores;
}

double LargestDot(const PagedKv& kv, int32_t row, int32_t head, const float* q, int64_t from, int64_t to) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const Token& token : ListTokens(kv, row, head, from, to)) {
    double dot = 0;
    for (int32_t t = 0; t < kv.head_dim_k; ++t) dot += double{q[t]} * Element(token.k, kv.dtype, kv.head_dim_k, t);
    largest = std::max(largest, dot);
  }
  return largest;
}

ScoreWeights WeighScores(std::span<const float> x, float scale, float softcap, std::span<float> weights) {
  ScoreWeights result;
  std::vector<double> scores(x.size());
  double top = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < x.size(); ++i) {
    scores[i] = double{scale} * x[i];
    if (softcap > 0) scores[i] = softcap * std::tanh(scores[i] / softcap);
    if (std::isnan(x[i])) scores[i] = -std::numeric_limits<double>::infinity();
    top = std::max(top, scores[i]);
  }
  result.top = static_cast<float>(top);
  for (size_t i = 0; i < x.size(); ++i) {
    const double weight = scores[i] == top ? 1.0 : std::exp(scores[i] - top);
    weights[i] = result.top == -std::numeric_limits<float>::infinity() ? 0.0f : static_cast<float>(weight);
    result.sum += weights[i];
  }
  return result;
}

}  // namespace arkvale::reference
