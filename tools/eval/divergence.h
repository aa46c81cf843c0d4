// Divergence of one decode step under a policy from dense attention (evaluation protocol 4). Doubles throughout;
// natural logarithms, nats.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"

namespace arkvale::tools {

struct StepFidelity {
  double kl = 0;         // KL(dense || policy) over the whole vocabulary, not clamped
  double nll = 0;        // of the true next token under the policy
  double nll_dense = 0;  // the same under dense attention
  double dp = 0;         // probability of the true next token, policy - dense
  bool same_top = false;
  bool clear = false;  // dense attention's best token leads its second by >= 0.1 of probability
};

// -ln of the probability of `next_id` under `logits` [n_vocab], raw. Internal where one is NaN or +infinity, or that of
// `next_id` is -infinity.
Result<double> NextTokenNll(std::span<const float> logits, int32_t next_id);

// The dense side of a step, prepared once for all policies compared with it.
class DenseStep {
 public:
  // `logits` [n_vocab], raw. Internal where one is NaN or +infinity, or none is finite.
  Status Set(std::span<const float> logits);

  // `logits` [n_vocab] of the policy. Internal where they are not finite as above, where the policy excludes a token
  // that dense attention allows, and where the sum is below -1e-6, which no rounding explains.
  Result<StepFidelity> Compare(std::span<const float> logits, int32_t next_id) const;

  // KL alone.
  Result<double> Kl(std::span<const float> logits) const;

 private:
  std::vector<double> log_p_, p_;
  int32_t top_ = 0;
  bool clear_ = false;
};

}  // namespace arkvale::tools
