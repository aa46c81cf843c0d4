// Rounds: interleaved measurements of several contenders in one cell (evaluation protocol, side by side).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/bench/contender.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// A cell: all contenders at one depth (decode) or one prompt length (prefill).
struct Cell {
  bool decode = true;
  int64_t n_tokens = 0;  // depth or prompt length
  int32_t rounds = 3;    // timed ones; a warm-up round comes before
};

// What one contender did in a cell.
struct Measured {
  std::string name;
  Json labels;
  Json fields;
  std::vector<std::vector<double>> samples_ms;  // per round: steps, or the one prefill
  std::vector<int32_t> likeliest_ids;           // decode only
};

using Contenders = std::vector<std::unique_ptr<Contender>>;

// Runs the rounds in the order A B, B A, A B, ... `ids`: the context or prompt, then (decode) the tokens to feed.
// `after_sample` is called after each of the (rounds + 1) * contenders.size() samples.
Result<std::vector<Measured>> RunCell(const Cell& cell, const Contenders& contenders, std::span<const int32_t> ids,
                                      const std::function<void()>& after_sample);

// One bare row of `bench --json`. `reference` is the contender whose likeliest tokens count as right.
Json RowJson(const Cell& cell, const Measured& measured, const Measured& reference);

// How many times faster than `b` contender `a` was, over the rounds' medians.
struct Ratio {
  std::string a, b;
  double median = 0, min = 0, max = 0;

  // "Faster" may be said when every round says so and the median is not noise.
  bool faster() const { return min > 1 && median >= 1.03; }
};

// Ours against the peer (if there is one), budgets against our full attention.
std::vector<Ratio> Ratios(const std::vector<Measured>& measured);
Json RatioJson(const Cell& cell, const Ratio& ratio);

}  // namespace arkvale::tools
