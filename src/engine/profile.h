// Mini-prefill: how much the last tokens of a prompt look at each token before them, layer by layer, without a KV cache
// of the whole model (XKV, arXiv 2412.05896; algorithms 7.1).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "arkvale/status.h"
#include "engine/runtime.h"

namespace arkvale {

struct ProfileOptions {
  int32_t window = 8;  // W: the last tokens, which judge the others
  int32_t kernel = 7;  // K, odd: tokens whose scores are averaged
};

struct LayerScores {
  int32_t layer = 0;
  int32_t n_kv_heads = 0;
  std::span<const float> scores;  // v, [n_kv_heads, tokens - W]
};

// Called once for each layer of full attention, in order; the scores are valid until it returns. An error ends the
// profile.
using LayerScoresSink = std::function<Status(const LayerScores&)>;

// Runs `ids` through one layer after the other; sliding layers are run and not scored. `progress` is told now and then
// how many of the ids * layers are done; an error of it ends the profile. Threads: as Runtime.
// InvalidArgument: no more than W tokens, an even kernel. ResourceExhausted: more than ProfileBytes has room for.
Status ProfilePrompt(Runtime& runtime, std::span<const int32_t> ids, const ProfileOptions& options,
                     const LayerScoresSink& sink, const std::function<Status(int64_t done)>& progress = {});

// What a profile of `n_tokens` tokens takes at its peak, besides the weights: hidden states of all tokens, K and V and
// the scores of one layer, activations of one chunk.
int64_t ProfileBytes(const Runtime& runtime, int64_t n_tokens);

}  // namespace arkvale
