#include "plan/allocate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

namespace arkvale {
namespace {

constexpr double kTolerance = 1e-9;
constexpr double kMaxSpent = 0x1p62;

// The layer of the largest key, the smallest of equals. A heap would need twice the comparisons per change, and
// branches that nothing predicts.
class WinnerTree {
 public:
  struct Node {
    double key;
    int32_t layer;
  };

  explicit WinnerTree(std::span<const double> keys)
      : n_leaves_(std::bit_ceil(keys.size())), nodes_(2 * n_leaves_, Node{-1.0, 0}) {
    for (size_t l = 0; l < keys.size(); ++l) nodes_[n_leaves_ + l] = {keys[l], static_cast<int32_t>(l)};
    for (size_t i = n_leaves_ - 1; i > 0; --i) nodes_[i] = Winner(i);
  }

  const Node& top() const { return nodes_[1]; }

  void Set(int32_t layer, double key) {
    size_t i = n_leaves_ + static_cast<size_t>(layer);
    nodes_[i].key = key;
    while ((i /= 2) > 0) nodes_[i] = Winner(i);
  }

 private:
  Node Winner(size_t i) const {
    const Node &left = nodes_[2 * i], &right = nodes_[2 * i + 1];
    return right.key > left.key ? right : left;
  }

  size_t n_leaves_;
  std::vector<Node> nodes_;  // [1] the root, [2i] and [2i + 1] below [i]
};

constexpr double kExhausted = -1.0;

double KeyOf(const LayerGains& layer, int64_t units) {
  if (units >= static_cast<int64_t>(layer.gains.size())) return kExhausted;
  return layer.gains[units] / static_cast<double>(layer.cost);
}

// The run of increments, from x_min on.
class Greedy {
 public:
  // `start` holds x_min units per layer.
  Greedy(std::span<const LayerGains> layers, Allocation start)
      : layers_(layers), plan_(std::move(start)), tree_(Keys(layers, plan_.units)) {}

  bool exhausted() const { return tree_.top().key == kExhausted; }
  bool gains_nothing() const { return tree_.top().key <= 0; }
  int64_t next_cost() const { return layers_[tree_.top().layer].cost; }
  const Allocation& plan() const { return plan_; }

  // Returns the gain.
  double Take() {
    const int32_t l = tree_.top().layer;
    const LayerGains& layer = layers_[l];
    const double gain = layer.gains[plan_.units[l]];
    plan_.retention[l] += gain;
    plan_.spent += layer.cost;
    tree_.Set(l, KeyOf(layer, ++plan_.units[l]));
    return gain;
  }

 private:
  static std::vector<double> Keys(std::span<const LayerGains> layers, std::span<const int64_t> units) {
    std::vector<double> keys(layers.size());
    for (size_t l = 0; l < layers.size(); ++l) keys[l] = KeyOf(layers[l], units[l]);
    return keys;
  }

  std::span<const LayerGains> layers_;
  Allocation plan_;
  WinnerTree tree_;
};

Status CheckLayer(const LayerGains& layer, size_t l) {
  const std::string name = "layer " + std::to_string(l) + ": ";
  if (layer.cost < 1) return InvalidArgument(name + "cost " + std::to_string(layer.cost) + " < 1: use 1 or more");
  if (!(layer.start >= 0 && std::isfinite(layer.start))) {
    return InvalidArgument(name + "retention starts at " + std::to_string(layer.start) + ": use a share from 0 to 1");
  }
  float before = std::numeric_limits<float>::max();
  for (size_t m = 0; m < layer.gains.size(); ++m) {
    const float gain = layer.gains[m];
    if (!(gain >= 0 && gain <= before)) {
      return InvalidArgument(name + "gain " + std::to_string(m + 1) + " is " + std::to_string(gain) + " after " +
                             std::to_string(before) + ": gains must be finite, not negative and not increase");
    }
    before = gain;
  }
  return OkStatus();
}

Status CheckLayers(std::span<const LayerGains> layers, int64_t x_min) {
  if (layers.empty()) return InvalidArgument("no layer to plan for: every layer is dense or slides");
  if (x_min < 0) return InvalidArgument("minimum of " + std::to_string(x_min) + " units per layer < 0: use 0 or more");
  double all = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    ARKVALE_RETURN_IF_ERROR(CheckLayer(layers[l], l));
    all += static_cast<double>(layers[l].cost) * static_cast<double>(layers[l].gains.size());
  }
  if (all <= kMaxSpent) return OkStatus();
  return InvalidArgument("all units together cost more than 2^62: use smaller costs, they are relative");
}

// x_min units per layer.
Allocation Least(std::span<const LayerGains> layers, int64_t x_min) {
  Allocation least;
  for (const LayerGains& layer : layers) {
    const int64_t units = std::min<int64_t>(x_min, static_cast<int64_t>(layer.gains.size()));
    least.units.push_back(units);
    least.retention.push_back(std::accumulate(layer.gains.begin(), layer.gains.begin() + units, layer.start));
    least.spent += layer.cost * units;
  }
  return least;
}

double Sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

double Allocation::mean_retention() const {
  return retention.empty() ? 0.0 : Sum(retention) / static_cast<double>(retention.size());
}

Result<std::vector<Allocation>> AllocateTotals(std::span<const LayerGains> layers, int64_t x_min,
                                               std::span<const int64_t> totals) {
  ARKVALE_RETURN_IF_ERROR(CheckLayers(layers, x_min));
  if (!std::is_sorted(totals.begin(), totals.end())) {
    return InvalidArgument("the totals do not ascend: sort them");
  }
  Allocation least = Least(layers, x_min);
  if (!totals.empty() && totals.front() < least.spent) {
    return InvalidArgument("total " + std::to_string(totals.front()) + " < " + std::to_string(least.spent) +
                           ", the minimum of " + std::to_string(x_min) + " for each of " +
                           std::to_string(layers.size()) + " layers: use a larger total or a smaller minimum");
  }
  Greedy greedy(layers, std::move(least));
  std::vector<Allocation> plans;
  for (const int64_t total : totals) {
    while (!greedy.exhausted() && greedy.next_cost() <= total - greedy.plan().spent) greedy.Take();
    plans.push_back(greedy.plan());
  }
  return plans;
}

Result<Allocation> AllocateTotal(std::span<const LayerGains> layers, int64_t x_min, int64_t total) {
  ARKVALE_ASSIGN_OR_RETURN(auto plans, AllocateTotals(layers, x_min, {&total, 1}));
  return std::move(plans.front());
}

Result<Allocation> AllocateRetention(std::span<const LayerGains> layers, int64_t x_min, double rho) {
  ARKVALE_RETURN_IF_ERROR(CheckLayers(layers, x_min));
  if (!(rho > 0 && rho <= 1)) {
    return InvalidArgument("retention " + std::to_string(rho) + " outside (0, 1]: use a share such as 0.8");
  }
  const double wanted = rho * static_cast<double>(layers.size()) - kTolerance;
  Greedy greedy(layers, Least(layers, x_min));
  double done = Sum(greedy.plan().retention);
  while (done < wanted && !greedy.gains_nothing()) done += greedy.Take();
  return greedy.plan();
}

}  // namespace arkvale
