#include "ops/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/f16.h"

namespace arkvale::reference {
namespace {

double Element(const std::byte* base, DType dtype, int64_t i) {
  if (dtype == DType::kF16) return F16ToF32(reinterpret_cast<const f16_t*>(base)[i]);
  return reinterpret_cast<const float*>(base)[i];
}

struct Token {
  const std::byte *k, *v;
};

std::vector<Token> ListTokens(const PagedKv& kv, int32_t row, int32_t head, int64_t from, int64_t to) {
  std::vector<Token> tokens;
  const int64_t bytes = static_cast<int64_t>(DTypeBytes(kv.dtype));
  for (int64_t i = kv.page_begin[row]; i < kv.page_begin[row + 1]; ++i) {
    const bool first = i == kv.page_begin[row], last = i + 1 == kv.page_begin[row + 1];
    const int32_t begin = first && kv.first_page_skip != nullptr ? kv.first_page_skip[row] : 0;
    const int32_t end = last ? kv.last_page_tokens[row] : kv.page_tokens;
    const std::byte* k = KeyPage(kv, kv.page_ids[i], kv.head0[row] + head);
    const std::byte* v = ValuePage(kv, kv.page_ids[i], kv.head0[row] + head);
    for (int32_t t = begin; t < end; ++t) {
      const int64_t position = kv.page_positions == nullptr ? 0 : kv.page_positions[i] + t;
      if (position < from || position > to) continue;
      tokens.push_back({k + t * kv.head_dim_k * bytes, v + t * kv.head_dim_v * bytes});
    }
  }
  return tokens;
}

struct Box {
  std::vector<double> low, high, centre;
};

Box BoundingBox(const std::vector<double>& keys, int64_t p, int64_t d) {
  Box box{std::vector<double>(keys.begin(), keys.begin() + d), std::vector<double>(keys.begin(), keys.begin() + d), {}};
  for (int64_t i = 1; i < p; ++i) {
    for (int64_t t = 0; t < d; ++t) {
      box.low[t] = std::min(box.low[t], keys[i * d + t]);
      box.high[t] = std::max(box.high[t], keys[i * d + t]);
    }
  }
  for (int64_t t = 0; t < d; ++t) box.centre.push_back((box.low[t] + box.high[t]) / 2);
  return box;
}

enum class Spread { kMax, kCenter, kMean };

Spread SpreadOf(DigestKind kind) {
  if (kind == DigestKind::kSphereMax || kind == DigestKind::kCuboidMax) return Spread::kMax;
  if (kind == DigestKind::kSphereCenter || kind == DigestKind::kCuboidCenter) return Spread::kCenter;
  return Spread::kMean;
}

bool IsSphere(DigestKind kind) {
  return kind == DigestKind::kSphereMax || kind == DigestKind::kSphereCenter || kind == DigestKind::kSphereMean;
}

double Combine(Spread spread, const std::vector<double>& distances) {
  const auto [low, high] = std::minmax_element(distances.begin(), distances.end());
  if (spread == Spread::kMax) return *high;
  if (spread == Spread::kCenter) return (*low + *high) / 2;
  double sum = 0;
  for (const double x : distances) sum += x;
  return sum / static_cast<double>(distances.size());
}

}  // namespace

Attended Attend(const PagedKv& kv, int32_t row, int32_t head, const float* q, double scale, int64_t from, int64_t to) {
  Attended result{std::vector<double>(kv.head_dim_v, 0.0), -std::numeric_limits<double>::infinity(), 0, 0};
  const std::vector<Token> tokens = ListTokens(kv, row, head, from, to);
  if (tokens.empty()) return result;
  std::vector<double> scores;
  for (const Token& token : tokens) {
    double dot = 0;
    for (int32_t t = 0; t < kv.head_dim_k; ++t) dot += double{q[t]} * Element(token.k, kv.dtype, t);
    scores.push_back(scale * dot);
    result.top = std::max(result.top, std::abs(scale * dot));
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - max);
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (int32_t t = 0; t < kv.head_dim_v; ++t) {
      const double v = Element(tokens[i].v, kv.dtype, t);
      result.out[t] += scores[i] / sum * v;
      result.largest_value = std::max(result.largest_value, std::abs(v));
    }
  }
  result.lse = max + std::log(sum);
  return result;
}

std::vector<double> BuildDigest(DigestKind kind, const std::vector<double>& keys, int64_t p, int64_t d) {
  if (kind == DigestKind::kCentroid) {
    std::vector<double> mean(d, 0.0);
    for (int64_t i = 0; i < p * d; ++i) mean[i % d] += keys[i] / static_cast<double>(p);
    return mean;
  }
  const Box box = BoundingBox(keys, p, d);
  std::vector<double> distances(p);
  if (IsSphere(kind)) {
    for (int64_t i = 0; i < p; ++i) {
      double sum = 0;
      for (int64_t t = 0; t < d; ++t) sum += std::pow(box.centre[t] - keys[i * d + t], 2);
      distances[i] = std::sqrt(sum);
    }
    std::vector<double> digest = box.centre;
    digest.push_back(Combine(SpreadOf(kind), distances));
    return digest;
  }
  std::vector<double> digest(2 * d);
  for (int64_t t = 0; t < d; ++t) {
    for (int64_t i = 0; i < p; ++i) distances[i] = std::abs(box.centre[t] - keys[i * d + t]);
    const double rho = Combine(SpreadOf(kind), distances);
    digest[t] = box.centre[t] + rho;
    digest[d + t] = box.centre[t] - rho;
  }
  return digest;
}

double ScoreDigest(DigestKind kind, const std::vector<double>& digest, const std::vector<double>& q) {
  const size_t d = q.size();
  double score = 0, squares = 0;
  for (size_t t = 0; t < d; ++t) {
    squares += q[t] * q[t];
    if (kind == DigestKind::kCentroid || IsSphere(kind)) {
      score += q[t] * digest[t];
    } else {
      score += std::max(q[t] * digest[t], q[t] * digest[d + t]);
    }
  }
  return IsSphere(kind) ? score + digest[d] * std::sqrt(squares) : score;
}

}  // namespace arkvale::reference
