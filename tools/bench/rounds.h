// Rounds: interleaved measurements of several contenders in one cell (evaluation protocol, side by side).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/contender.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// A cell: all contenders at one depth and batch (decode) or one prompt length (prefill).
struct Cell {
  bool decode = true;
  int64_t n_tokens = 0;  // depth or prompt length
  int32_t batch = 1;     // sequences that step together
  int32_t rounds = 3;    // timed ones; a warm-up round comes before

  // "decode at 2048", "decode at 2048, batch 4", "prefill of 512"
  std::string name() const;
};

// What one contender did in a cell.
struct Measured {
  std::string name;
  Json labels;
  Json fields;
  std::vector<std::vector<double>> samples_ms;  // per round: steps, or the one prefill
  std::vector<int32_t> likeliest_ids;           // decode only
  std::optional<Breakdown> parts;
  int64_t step_bytes = 0;                 // as Contender::StepBytes
  std::optional<int64_t> rss_peak_bytes;  // of a process that did nothing else

  // Over the samples of all rounds; f as Quantile's.
  double quantile_ms(double f) const;
  double median_ms() const { return quantile_ms(0.5); }
};

using Contenders = std::vector<std::unique_ptr<Contender>>;

// Runs the rounds in the order A B, B A, A B, ... `ids`: the context or prompt, then (decode) the tokens to feed.
// `after_sample` is called after each of the (rounds + 1) * contenders.size() samples.
Result<std::vector<Measured>> RunCell(const Cell& cell, const Contenders& contenders, std::span<const int32_t> ids,
                                      const std::function<void()>& after_sample);

// How many times faster than `b` contender `a` was, over the rounds' medians.
struct Ratio {
  std::string a, b;
  double median = 0, min = 0, max = 0;

  // "Faster" may be said when every round says so and the median is not noise.
  bool faster() const { return min > 1 && median >= 1.03; }
};

// Ours against the peer (if there is one), budgets against our full attention.
std::vector<Ratio> Ratios(const std::vector<Measured>& measured);

}  // namespace arkvale::tools
