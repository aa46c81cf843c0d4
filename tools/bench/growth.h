// How a contender's time per step grows with the depth of its context.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/rounds.h"

namespace arkvale::tools {

struct Growth {
  std::string name;
  int32_t batch = 1;
  double decode_us_per_1k_tokens = 0;  // least squares of the step over the depth
  double last_to_first = 0;            // step at the largest depth / step at the smallest
  // Smallest depth at which it is faster than our full attention (Ratio::faster); empty for full attention itself and
  // where it never is.
  std::optional<int64_t> crossover_tokens;
};

class GrowthLog {
 public:
  // Decode cells count, in increasing depth.
  void Add(const Cell& cell, const std::vector<Measured>& measured, const std::vector<Ratio>& ratios);
  // Of each contender and batch with at least three depths, in the order they were added.
  std::vector<Growth> Result() const;

 private:
  struct Line {
    std::string name;
    int32_t batch = 1;
    std::vector<double> depth_tokens, step_ms;
    std::optional<int64_t> crossover_tokens;
  };
  std::vector<Line> lines_;
};

}  // namespace arkvale::tools
