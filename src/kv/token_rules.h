// Which single tokens a policy keeps: pure functions of numbers (algorithms 8). Nothing here knows where a token lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "kv/shape.h"

namespace arkvale {

// Positions before `below` and from `from` on.
struct PinnedTokens {
  int64_t below = 0, from = 0;

  bool has(int32_t position) const { return position < below || position >= from; }
};

// What a policy that drops tokens means for one layer.
struct TokenRule {
  KvPolicyKind policy = KvPolicyKind::kStreaming;
  int64_t budget = 0;  // c, in tokens of the layer and kv head; 0 = the layer drops nothing
  int32_t sinks = 0;   // streaming
  int64_t heavy = 0;   // h2o: tokens kept for their score; the others are the newest
  H2oInit h2o_init = H2oInit::kFull;
  int32_t window = 0;  // snapkv, pyramidkv, xkv: W
  int32_t kernel = 0;
  SnapPooling pooling = SnapPooling::kAverage;
  int32_t beta = 0;                               // pyramidkv
  int32_t managed_index = 0, managed_layers = 1;  // the same: l and L

  // Tokens of n_held that stay when a prefill ends, or after a step.
  int64_t KeptAfterPrefill(int64_t n_held) const;
  int64_t KeptAfterStep(int64_t n_held) const;
  // Tokens that stay whatever their score. n_tokens: of the sequence.
  PinnedTokens Pinned(int64_t n_tokens) const;
  // Queries before the end of a prefill that its choice needs.
  int32_t n_queries() const;
  // True where all kv heads keep the same tokens.
  bool heads_alike() const { return policy == KvPolicyKind::kStreaming || policy == KvPolicyKind::kTova; }
  // True where rows of attention are added up from step to step, or from the first row on.
  bool adds_scores() const { return policy == KvPolicyKind::kH2o; }
  bool adds_all_rows() const { return adds_scores() && h2o_init == H2oInit::kFull; }
  bool scores_window() const { return JudgesByWindow(policy); }
  // True where only the first prefill that ends drops tokens; what comes later stays.
  bool chooses_once() const { return policy == KvPolicyKind::kXkv; }
  bool drops_in_steps() const { return !scores_window(); }
  // True where a step's choice reads its attention.
  bool weighs_steps() const { return policy == KvPolicyKind::kH2o || policy == KvPolicyKind::kTova; }
};

// The rule of one layer out of the options; `managed_index` of `managed_layers` counts the layers under a budget.
// Options that Validate has accepted. budget = 0 for policies that keep all tokens.
TokenRule MakeTokenRule(const KvOptions& options, int32_t layer, int32_t managed_index, int32_t managed_layers);
// The rules of all layers of a model.
std::vector<TokenRule> MakeTokenRules(const KvShape& shape, const KvOptions& options);

// Tokens before the window that layer `index` of `n_layers` keeps of n_held >= c (PyramidKV, integer arithmetic).
int64_t PyramidKept(int64_t budget, int32_t window, int32_t beta, int32_t index, int32_t n_layers, int64_t n_held);

// What is known of the tokens that a kv head holds, by cell.
struct HeldTokens {
  std::span<const int32_t> positions;
  std::span<const float> scores;  // or empty: then they rank by age, the newest first
  int64_t n_tokens = 0;           // of the sequence
};

// Cells of the `keep` tokens that stay, ascending: the pinned ones, then the best under the order rule (higher score,
// then smaller position, NaN last). `keep` is at most the tokens held and at least those pinned. keys: memory of the
// caller's.
void KeepTokens(const TokenRule& rule, const HeldTokens& held, int64_t keep, std::vector<uint64_t>& keys,
                std::span<int32_t> kept);

// The one cell that KeepTokens leaves out for keep = held - 1.
int32_t DroppedCell(const TokenRule& rule, const HeldTokens& held);

}  // namespace arkvale
