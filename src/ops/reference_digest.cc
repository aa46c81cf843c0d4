#include "ops/reference_digest.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/digest_layout.h"

namespace arkvale::reference {
namespace {

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

double Combine(Spread spread, const std::vector<double>& distances) {
  const auto [low, high] = std::minmax_element(distances.begin(), distances.end());
  if (spread == Spread::kMax) return *high;
  if (spread == Spread::kCenter) return (*low + *high) / 2;
  double sum = 0;
  for (const double x : distances) sum += x;
  return sum / static_cast<double>(distances.size());
}

}  // namespace

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
    if (kind == DigestKind::kCode2) {
      digest[t] = box.low[t];
      digest[d + t] = (box.high[t] - box.low[t]) / 4;
      continue;
    }
    for (int64_t i = 0; i < p; ++i) distances[i] = std::abs(box.centre[t] - keys[i * d + t]);
    const double rho = Combine(SpreadOf(kind), distances);
    digest[t] = box.centre[t] + (kind == DigestKind::kCode1 ? 0 : rho);
    digest[d + t] = kind == DigestKind::kCode1 ? rho : box.centre[t] - rho;
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

std::vector<int> BuildCodes(DigestKind kind, const std::vector<double>& digest, const std::vector<double>& keys,
                            int64_t d) {
  std::vector<int> codes;
  for (size_t i = 0; i < keys.size(); ++i) {
    const double first = digest[i % d], width = digest[d + i % d];
    if (kind == DigestKind::kCode1) {
      codes.push_back(keys[i] >= first ? 1 : 0);
    } else {
      codes.push_back(width > 0 ? static_cast<int>(std::clamp(std::floor((keys[i] - first) / width), 0.0, 3.0)) : 0);
    }
  }
  return codes;
}

double ScoreCodes(DigestKind kind, const std::vector<double>& digest, const std::vector<int>& codes,
                  const std::vector<double>& q) {
  const size_t d = q.size();
  double best = -std::numeric_limits<double>::infinity();
  for (size_t key = 0; key < codes.size() / d; ++key) {
    double score = 0;
    for (size_t t = 0; t < d; ++t) {
      const int code = codes[key * d + t];
      double rebuilt = digest[t] + digest[d + t] * (code + 0.5);
      if (kind == DigestKind::kCode1) rebuilt = digest[t] + digest[d + t] * (2 * code - 1);
      score += q[t] * rebuilt;
    }
    best = std::max(best, score);
  }
  return best;
}

}  // namespace arkvale::reference
