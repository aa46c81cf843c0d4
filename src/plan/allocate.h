// Units (tokens or pages) for every layer by greatest marginal gain (XKV, arXiv 2412.05896; algorithms 7.2, 7.3).
//
// The greedy is globally optimal because each layer's gains are non-increasing: the first N increments it takes are N
// largest gains of all layers, and no choice of N units has more. Plans are nested: the one for N is a prefix of the
// one for N + 1. Equal gains go to the smaller layer. Pure functions: any thread may call them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

// One managed layer.
struct LayerGains {
  std::span<const float> gains;  // G_l[1..]: finite, >= 0, non-increasing; units past its end do not exist
  double start = 0;              // R_l(0): 0 for tokens, the pinned pages' share for pages
  // Of one unit, >= 1, relative to the other layers'. Gains rank by gain / cost; where costs differ, the plan is
  // optimal for what it spends, which may be less than the total by less than one unit.
  int64_t cost = 1;
};

struct Allocation {
  std::vector<int64_t> units;     // x_l
  std::vector<double> retention;  // R_l(x_l)
  int64_t spent = 0;              // sum of cost * units

  double mean_retention() const;
};

// All functions: every layer gets at least min(x_min, its gains), even where that is more than rho asks for.
// InvalidArgument where there are no layers, a list is out of order or a value out of range, or the minimum does not
// fit into the total. Time O(gains + units * log layers), memory O(layers).

// The largest sum of retentions with spent <= total; where all costs are 1, spent = total. A total larger than all that
// exists gives every layer all it has.
Result<Allocation> AllocateTotal(std::span<const LayerGains> layers, int64_t x_min, int64_t total);

// The same for many ascending totals in one run.
Result<std::vector<Allocation>> AllocateTotals(std::span<const LayerGains> layers, int64_t x_min,
                                               std::span<const int64_t> totals);

// The least spent with mean retention >= rho, 0 < rho <= 1 (to 1e-9 / layers). Units without gain are never added:
// where the gains do not reach rho, every layer gets all that has some.
Result<Allocation> AllocateRetention(std::span<const LayerGains> layers, int64_t x_min, double rho);

}  // namespace arkvale
