// Naive double twins of AttentionMass and WindowScores: what tests compare the kernels with.
#pragma once

#include <vector>

#include "ops/attention_mass.h"
#include "ops/window_scores.h"

namespace arkvale::reference {

// What AttentionMass adds, [n_kv_heads, mass_stride], and a bound for each element's relative error in an f32 twin.
struct Mass {
  std::vector<double> added, error;
};
Mass AttentionMass(const AttentionMassArgs& args);

// pool_j(u) of all j.
std::vector<double> Pool(const std::vector<double>& u, int32_t kernel, Pooling pooling);

// [n_kv_heads, n_tokens - W] as above; one bound for all.
struct Window {
  std::vector<double> scores;
  double error = 0;
};
Window WindowScores(const WindowScoresArgs& args);

}  // namespace arkvale::reference
