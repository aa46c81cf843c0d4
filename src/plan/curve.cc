#include "plan/curve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace arkvale {
namespace {

double Slope(const LossPoint& a, const LossPoint& b) {
  return (b.loss - a.loss) / static_cast<double>(b.units - a.units);
}

// Points ascend. Those on and above the hull's lines are left out.
std::vector<LossPoint> LowerHull(std::span<const LossPoint> points) {
  std::vector<LossPoint> hull;
  for (const LossPoint& p : points) {
    while (hull.size() >= 2 && Slope(hull[hull.size() - 2], hull.back()) >= Slope(hull.back(), p)) hull.pop_back();
    hull.push_back(p);
  }
  return hull;
}

// The loss at `units` between two points.
double Between(const LossPoint& a, const LossPoint& b, int64_t units) {
  const auto at = [&](double from, double to, double x) { return from + (to - from) * x; };
  const auto u = static_cast<double>(units), ua = static_cast<double>(a.units), ub = static_cast<double>(b.units);
  if (b.loss <= 0) return at(a.loss, b.loss, (u - ua) / (ub - ua));
  return a.loss * std::exp(std::log(b.loss / a.loss) * std::log(u / ua) / std::log(ub / ua));
}

// Every unit from the first point to the last.
std::vector<LossPoint> Interpolate(std::span<const LossPoint> points) {
  std::vector<LossPoint> curve;
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    for (int64_t u = points[i].units; u < points[i + 1].units; ++u) {
      curve.push_back({u, Between(points[i], points[i + 1], u)});
    }
  }
  curve.push_back(points.back());
  return curve;
}

}  // namespace

Result<std::vector<float>> CurveGains(std::span<const LossPoint> points, int64_t most_units) {
  std::vector<LossPoint> below;
  int64_t last = 0;
  for (const LossPoint& p : points) {
    if (p.units <= last) return InvalidArgument("sizes of a loss must ascend from 1: " + std::to_string(p.units));
    if (!std::isfinite(p.loss)) return InvalidArgument("a loss at " + std::to_string(p.units) + " units is not finite");
    last = p.units;
    const double before = below.empty() ? std::numeric_limits<double>::max() : below.back().loss;
    if (p.units < most_units) below.push_back({p.units, std::clamp(p.loss, 0.0, before)});
  }
  if (below.empty()) {
    return InvalidArgument("no loss is measured below " + std::to_string(most_units) + " units, where it ends");
  }
  std::vector<LossPoint> curve = Interpolate(below);
  curve.push_back({most_units, 0});
  const std::vector<LossPoint> hull = LowerHull(curve);
  std::vector<float> gains(static_cast<size_t>(most_units));
  int64_t from = 0;
  for (size_t i = 0; i + 1 < hull.size(); ++i) {
    // A hull that ends at 0, the least loss, falls everywhere; its slopes ascend.
    std::fill(gains.begin() + from, gains.begin() + hull[i + 1].units,
              static_cast<float>(-Slope(hull[i], hull[i + 1])));
    from = hull[i + 1].units;
  }
  return gains;
}

}  // namespace arkvale
