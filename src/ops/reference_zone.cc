#include "ops/reference_zone.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/f16.h"

namespace arkvale::reference {
namespace {

constexpr double kLargestF16 = 65504;

double RoundToF16(double x) { return F16ToF32(F32ToF16(static_cast<float>(x))); }

}  // namespace

ValueCodes CodeValues(int bits, const std::vector<double>& values, int64_t d) {
  const double levels = std::pow(2, bits) - 1;
  ValueCodes coded;
  for (size_t token = 0; token < values.size() / d; ++token) {
    const double* const v = values.data() + token * d;
    if (!std::all_of(v, v + d, [](double x) { return std::isfinite(x); })) {
      coded.lo.push_back(std::numeric_limits<double>::quiet_NaN());
      coded.st.push_back(0);
      coded.codes.insert(coded.codes.end(), d, 0);
      continue;
    }
    const auto [low, high] = std::minmax_element(v, v + d);
    const double lo = RoundToF16(std::clamp(*low, -kLargestF16, kLargestF16));
    const double st = RoundToF16(std::min((*high - *low) / levels, kLargestF16));
    coded.lo.push_back(lo);
    coded.st.push_back(st);
    for (int64_t t = 0; t < d; ++t) {
      coded.codes.push_back(st > 0 ? static_cast<int>(std::clamp(std::nearbyint((v[t] - lo) / st), 0.0, levels)) : 0);
    }
  }
  return coded;
}

std::vector<double> CodedValues(const ValueCodes& coded, int64_t d) {
  std::vector<double> values;
  for (size_t i = 0; i < coded.codes.size(); ++i) {
    values.push_back(coded.lo[i / d] + coded.st[i / d] * coded.codes[i]);
  }
  return values;
}

std::vector<double> EstimateKeys(const std::vector<double>& vectors, const std::vector<int>& codes,
                                 const std::vector<double>& q) {
  const size_t d = q.size();
  std::vector<double> scores(codes.size() / d, 0.0);
  for (size_t i = 0; i < codes.size(); ++i) {
    scores[i / d] += q[i % d] * (vectors[i % d] + vectors[d + i % d] * (codes[i] + 0.5));
  }
  return scores;
}

Attended AttendScores(const std::vector<double>& scores, const std::vector<double>& values, int64_t d) {
  Attended result{std::vector<double>(d, 0.0), -std::numeric_limits<double>::infinity(), 0, 0};
  if (scores.empty()) return result;
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double s : scores) {
    sum += std::exp(s - max);
    result.top = std::max(result.top, std::abs(s));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    result.out[i % d] += std::exp(scores[i / d] - max) / sum * values[i];
    result.largest_value = std::max(result.largest_value, std::abs(values[i]));
  }
  result.lse = max + std::log(sum);
  return result;
}

}  // namespace arkvale::reference
