#include "tools/bench/growth.h"

#include <algorithm>

namespace arkvale::tools {
namespace {

// Slope of the least-squares line.
double Slope(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
  }
  return xx > 0 ? xy / xx : 0;
}

}  // namespace

void GrowthLog::Add(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Ratio>& ratios) {
  if (!cell.decode) return;
  for (const Measured& m : measured) {
    auto line = std::find_if(lines_.begin(), lines_.end(),
                             [&](const Line& l) { return l.name == m.name && l.batch == cell.batch; });
    if (line == lines_.end()) {
      lines_.emplace_back();
      lines_.back().name = m.name;
      lines_.back().batch = cell.batch;
      line = lines_.end() - 1;
    }
    if (!line->depth_tokens.empty() && line->depth_tokens.back() == static_cast<double>(cell.n_tokens)) continue;
    line->depth_tokens.push_back(static_cast<double>(cell.n_tokens));
    line->step_ms.push_back(m.median_ms());
    const bool faster = std::any_of(ratios.begin(), ratios.end(),
                                    [&](const Ratio& r) { return r.a == m.name && r.b == kFullName && r.faster(); });
    if (faster && !line->crossover_tokens) line->crossover_tokens = cell.n_tokens;
  }
}

std::vector<Growth> GrowthLog::Result() const {
  constexpr size_t kMinDepths = 3;
  std::vector<Growth> growths;
  for (const Line& line : lines_) {
    if (line.depth_tokens.size() < kMinDepths) continue;
    growths.push_back({.name = line.name,
                       .batch = line.batch,
                       .decode_us_per_1k_tokens = 1e6 * Slope(line.depth_tokens, line.step_ms),
                       .last_to_first = line.step_ms.back() / line.step_ms.front(),
                       .crossover_tokens = line.crossover_tokens});
  }
  return growths;
}

}  // namespace arkvale::tools
