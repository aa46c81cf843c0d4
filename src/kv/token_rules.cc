#include "kv/token_rules.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/check.h"
#include "ops/top_k.h"

namespace arkvale {
namespace {

// The larger key stays longer; keys of different positions differ.
uint64_t KeyOf(const HeldTokens& held, size_t cell) {
  const int32_t position = held.positions[cell];
  if (held.scores.empty()) return static_cast<uint64_t>(position);
  return RankKey(held.scores[cell], position);
}

}  // namespace

int64_t PyramidKept(int64_t budget, int32_t window, int32_t beta, int32_t index, int32_t n_layers, int64_t n_held) {
  const int64_t mean = budget - window, before = n_held - window;
  if (n_layers == 1 || n_held < 2 * mean) return std::min(mean, before);
  int64_t low = mean / beta, high = 2 * mean - low;
  if (high >= before) {
    high = before;
    low = 2 * mean - high;
  }
  return high - index * ((high - low) / (n_layers - 1));
}

int64_t TokenRule::KeptAfterPrefill(int64_t n_held) const {
  if (budget == 0 || n_held < budget) return n_held;
  if (policy != KvPolicyKind::kPyramidkv) return budget;
  return std::min(n_held, window + PyramidKept(budget, window, beta, managed_index, managed_layers, n_held));
}

int64_t TokenRule::KeptAfterStep(int64_t n_held) const {
  return drops_in_steps() && budget > 0 ? std::min(n_held, budget) : n_held;
}

PinnedTokens TokenRule::Pinned(int64_t n_tokens) const {
  switch (policy) {
    case KvPolicyKind::kStreaming: return {.below = sinks, .from = n_tokens};
    case KvPolicyKind::kH2o: return {.from = n_tokens - (budget - heavy)};
    case KvPolicyKind::kSnapkv:
    case KvPolicyKind::kPyramidkv:
    case KvPolicyKind::kXkv: return {.from = n_tokens - window};
    default: return {.from = n_tokens};
  }
}

int32_t TokenRule::n_queries() const {
  if (budget == 0 || policy == KvPolicyKind::kStreaming || adds_all_rows()) return 0;
  return scores_window() ? window : 1;
}

TokenRule MakeTokenRule(const KvOptions& o, int32_t layer, int32_t managed_index, int32_t managed_layers) {
  if (KeepsAllTokens(o.policy) || layer < o.dense_layers) return {};
  int64_t c = o.budget_tokens;
  if (!o.layer_budget_tokens.empty() && o.layer_budget_tokens[layer] > 0) c = o.layer_budget_tokens[layer];
  c = std::min<int64_t>(c, std::numeric_limits<int32_t>::max());
  return {.policy = o.policy,
          .budget = c,
          .sinks = o.streaming_sinks,
          .heavy = static_cast<int64_t>(static_cast<double>(c) * o.h2o_heavy),
          .h2o_init = o.h2o_init,
          .window = o.snap_window,
          .kernel = o.snap_kernel,
          .pooling = o.snap_pooling,
          .beta = o.pyramid_beta,
          .managed_index = managed_index,
          .managed_layers = managed_layers};
}

std::vector<TokenRule> MakeTokenRules(const KvShape& shape, const KvOptions& options) {
  std::vector<TokenRule> rules(shape.layers.size());
  const auto is_managed = [&](int32_t l) {
    return shape.layers[l].window == 0 && MakeTokenRule(options, l, 0, 1).budget > 0;
  };
  int32_t managed_layers = 0, index = 0;
  for (int32_t l = 0; l < shape.n_layers(); ++l) managed_layers += is_managed(l) ? 1 : 0;
  for (int32_t l = 0; l < shape.n_layers(); ++l) {
    if (is_managed(l)) rules[l] = MakeTokenRule(options, l, index++, managed_layers);
  }
  return rules;
}

void KeepTokens(const TokenRule& rule, const HeldTokens& held, int64_t keep, std::vector<uint64_t>& keys,
                std::span<int32_t> kept) {
  const size_t n = held.positions.size();
  const PinnedTokens pinned = rule.Pinned(held.n_tokens);
  keys.clear();
  int64_t left = keep;
  for (size_t cell = 0; cell < n; ++cell) {
    if (pinned.has(held.positions[cell])) {
      --left;
    } else {
      keys.push_back(KeyOf(held, cell));
    }
  }
  ARKVALE_CHECK(left >= 0 && left <= static_cast<int64_t>(keys.size()));
  uint64_t bar = std::numeric_limits<uint64_t>::max();
  if (left > 0) {
    const auto last = keys.begin() + (left - 1);
    std::nth_element(keys.begin(), last, keys.end(), std::greater<>());
    bar = *last;
  }
  size_t out = 0;
  for (size_t cell = 0; cell < n; ++cell) {
    const bool stays = pinned.has(held.positions[cell]) || (left > 0 && KeyOf(held, cell) >= bar);
    if (stays) kept[out++] = static_cast<int32_t>(cell);
  }
  ARKVALE_CHECK(static_cast<int64_t>(out) == keep);
}

int32_t DroppedCell(const TokenRule& rule, const HeldTokens& held) {
  const PinnedTokens pinned = rule.Pinned(held.n_tokens);
  int32_t dropped = -1;
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (size_t cell = 0; cell < held.positions.size(); ++cell) {
    if (pinned.has(held.positions[cell])) continue;
    const uint64_t key = KeyOf(held, cell);
    if (key >= least) continue;
    least = key;
    dropped = static_cast<int32_t>(cell);
  }
  ARKVALE_CHECK(dropped >= 0);
  return dropped;
}

}  // namespace arkvale
