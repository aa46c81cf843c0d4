// Which part of a prompt need not be prefilled because a sequence in the cache begins with the same tokens. Pure rules;
// prefix_cache and chat act on them.
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"

namespace arkvale {

// InvalidArgument, naming the policy, where its sequences do not hold every token: they can be neither cut back nor
// continued by an exact prefill.
Status CheckKeepsAllTokens(KvPolicyKind policy);

// A sequence that a prompt may start from.
struct ReuseSource {
  std::span<const int32_t> ids;
  int64_t min_fork_depth = 0;  // KvCache::MinForkDepth
};

// Tokens of `prompt` that a fork of `source` can begin with: the longest common prefix, but never the prompt's last
// token, whose query and logits are still to come. 0 where fewer than `min_tokens` are left, or the source cannot be
// cut back so far.
int64_t ReusableTokens(std::span<const int32_t> prompt, const ReuseSource& source, int64_t min_tokens);

// Whether `held` can stand in for `wanted` in every later prompt.
bool Covers(const ReuseSource& held, const ReuseSource& wanted);

}  // namespace arkvale
