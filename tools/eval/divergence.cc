#include "tools/eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace arkvale::tools {
namespace {

constexpr double kMinKl = -1e-6;
constexpr double kClearLead = 0.1;

// The log-softmax of l is l - top - log_z.
struct Normaliser {
  double top = 0;
  double log_z = 0;
  int32_t top_id = 0;  // lowest id among equals

  double LogP(float logit) const { return static_cast<double>(logit) - top - log_z; }
};

Result<Normaliser> Normalise(std::span<const float> logits) {
  Normaliser n;
  n.top_id = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  n.top = logits[n.top_id];
  double z = 0;
  for (const float l : logits) z += std::exp(static_cast<double>(l) - n.top);
  // A NaN anywhere and an infinite maximum both end in a sum that is not finite.
  if (!std::isfinite(z)) return Internal("logits hold NaN or infinity: the model or a kernel is broken");
  n.log_z = std::log(z);
  return n;
}

}  // namespace

Result<double> NextTokenNll(std::span<const float> logits, int32_t next_id) {
  ARKVALE_ASSIGN_OR_RETURN(const Normaliser n, Normalise(logits));
  const double nll = -n.LogP(logits[next_id]);
  if (!std::isfinite(nll))
    return Internal("the logit of the next token, " + std::to_string(next_id) + ", is -infinity");
  return nll;
}

Status DenseStep::Set(std::span<const float> logits) {
  ARKVALE_ASSIGN_OR_RETURN(const Normaliser n, Normalise(logits));
  log_p_.resize(logits.size());
  p_.resize(logits.size());
  double second = 0;
  top_ = n.top_id;
  for (size_t v = 0; v < logits.size(); ++v) {
    log_p_[v] = n.LogP(logits[v]);
    p_[v] = std::exp(log_p_[v]);
    if (static_cast<int32_t>(v) != top_) second = std::max(second, p_[v]);
  }
  clear_ = p_[top_] - second >= kClearLead;
  return OkStatus();
}

Result<double> DenseStep::Kl(std::span<const float> logits) const {
  ARKVALE_ASSIGN_OR_RETURN(const StepFidelity step, Compare(logits, 0));
  return step.kl;
}

Result<StepFidelity> DenseStep::Compare(std::span<const float> logits, int32_t next_id) const {
  ARKVALE_ASSIGN_OR_RETURN(const Normaliser n, Normalise(logits));
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  StepFidelity step;
  for (size_t v = 0; v < logits.size(); ++v) {
    const double log_q = n.LogP(logits[v]);
    if (log_q == kNever && log_p_[v] != kNever) {
      return Internal("the policy's logit of token " + std::to_string(v) + " is -infinity, the dense one is finite");
    }
    if (p_[v] > 0) step.kl += p_[v] * (log_p_[v] - log_q);
  }
  if (step.kl < kMinKl) return Internal("KL " + std::to_string(step.kl) + " < " + std::to_string(kMinKl));
  const double log_q = n.LogP(logits[next_id]);
  step.nll = -log_q;
  step.nll_dense = -log_p_[next_id];
  step.dp = std::exp(log_q) - p_[next_id];
  step.same_top = n.top_id == top_;
  step.clear = clear_;
  return step;
}

}  // namespace arkvale::tools
