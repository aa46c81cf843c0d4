#include "ops/reference_linear.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/dequantise.h"

namespace arkvale::reference {

std::vector<double> Dequantised(const WeightView& w) {
  std::vector<double> all;
  std::vector<float> row(w.cols);
  for (int64_t r = 0; r < w.rows; ++r) {
    Dequantise(w.ggml_type, static_cast<const std::byte*>(w.data) + r * w.row_bytes, row.data(), w.cols);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

MatmulResult Matmul(const MatrixView& x, const WeightView& w, const float* bias) {
  const std::vector<double> weights = Dequantised(w);
  MatmulResult result;
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t r = 0; r < w.rows; ++r) {
      double y = bias != nullptr ? bias[r] : 0, magnitude = std::abs(y);
      for (int64_t k = 0; k < x.cols; ++k) {
        const double product = x.row(i)[k] * weights[r * w.cols + k];
        y += product;
        magnitude += std::abs(product);
      }
      result.y.push_back(y);
      result.magnitude.push_back(magnitude);
    }
  }
  return result;
}

std::vector<double> Embed(const WeightView& table, std::span<const int32_t> ids, double scale) {
  const std::vector<double> rows = Dequantised(table);
  std::vector<double> out;
  for (const int32_t id : ids) {
    for (int64_t c = 0; c < table.cols; ++c) out.push_back(scale * rows[id * table.cols + c]);
  }
  return out;
}

std::vector<double> RmsNorm(const MatrixView& x, const float* weight, double eps) {
  std::vector<double> out;
  for (int64_t i = 0; i < x.rows; ++i) {
    double squares = 0;
    for (int64_t c = 0; c < x.cols; ++c) squares += static_cast<double>(x.row(i)[c]) * x.row(i)[c];
    const double root = std::sqrt(squares / static_cast<double>(x.cols) + eps);
    for (int64_t c = 0; c < x.cols; ++c) out.push_back(x.row(i)[c] / root * weight[c]);
  }
  return out;
}

std::vector<double> RopeAngles(const RopeParams& params, std::span<const int64_t> positions) {
  std::vector<double> out;
  for (const int64_t position : positions) {
    for (int j = 0; j < params.n_rot / 2; ++j) {
      double angle = static_cast<double>(position);
      angle *= std::pow(static_cast<double>(params.freq_base), -2.0 * j / params.n_rot);
      if (params.freq_factors != nullptr) angle /= params.freq_factors[j];
      double kept = 0;  // YaRN's share of the unscaled angle
      if (params.yarn && params.ramp_high > params.ramp_low) {
        kept = 1 - std::clamp((j - params.ramp_low) / (double{params.ramp_high} - params.ramp_low), 0.0, 1.0);
      } else if (params.yarn) {
        kept = j <= params.ramp_low ? 1 : 0;
      }
      angle = kept * angle + (1 - kept) * angle * params.freq_scale;
      out.push_back(params.magnitude * std::cos(angle));
      out.push_back(params.magnitude * std::sin(angle));
    }
  }
  return out;
}

std::vector<double> Rope(RopeKind kind, int n_rot, int head_dim, const MatrixView& angles, const MatrixView& x) {
  std::vector<double> out;
  for (int64_t i = 0; i < x.rows; ++i) {
    std::vector<double> row(x.row(i), x.row(i) + x.cols);
    for (int64_t head = 0; head < x.cols; head += head_dim) {
      for (int j = 0; j < n_rot / 2; ++j) {
        const double cos = angles.row(i)[2 * j], sin = angles.row(i)[2 * j + 1];
        double& a = row[head + (kind == RopeKind::kNorm ? 2 * j : j)];
        double& b = row[head + (kind == RopeKind::kNorm ? 2 * j + 1 : j + n_rot / 2)];
        const double rotated = a * cos - b * sin;
        b = a * sin + b * cos;
        a = rotated;
      }
    }
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

std::vector<std::pair<int32_t, double>> RouteExperts(std::span<const float> logits, int64_t k) {
  std::vector<std::pair<int32_t, double>> all;
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  for (const float logit : logits) all.emplace_back(static_cast<int32_t>(all.size()), std::exp(double{logit}) / sum);
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  all.resize(static_cast<size_t>(k));
  double chosen = 0;
  for (const auto& expert : all) chosen += expert.second;
  for (auto& expert : all) expert.second /= chosen;
  return all;
}

std::vector<double> Glu(GluKind kind, const MatrixView& gate, const MatrixView& up) {
  std::vector<double> out;
  for (int64_t i = 0; i < gate.rows; ++i) {
    for (int64_t c = 0; c < gate.cols; ++c) {
      const double x = gate.row(i)[c];
      const double gelu = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
      out.push_back((kind == GluKind::kSilu ? x / (1 + std::exp(-x)) : gelu) * up.row(i)[c]);
    }
  }
  return out;
}

}  // namespace arkvale::reference
