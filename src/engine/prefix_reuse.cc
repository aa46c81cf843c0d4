#include "engine/prefix_reuse.h"

#include <algorithm>
#include <string>

namespace arkvale {
namespace {

int64_t CommonPrefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t n = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(n), b.begin()).first - a.begin();
}

}  // namespace

Status CheckKeepsAllTokens(KvPolicyKind policy) {
  if (KeepsAllTokens(policy)) return OkStatus();
  return InvalidArgument("policy '" + std::string(KvPolicyName(policy)) +
                         "' drops tokens for good, so its cache cannot be continued: use full, arkvale or quest");
}

int64_t ReusableTokens(std::span<const int32_t> prompt, const ReuseSource& source, int64_t min_tokens) {
  const int64_t depth = std::min(CommonPrefix(prompt, source.ids), static_cast<int64_t>(prompt.size()) - 1);
  return depth >= std::max(min_tokens, source.min_fork_depth) ? depth : 0;
}

bool Covers(const ReuseSource& held, const ReuseSource& wanted) {
  return held.min_fork_depth <= wanted.min_fork_depth &&
         CommonPrefix(held.ids, wanted.ids) == static_cast<int64_t>(wanted.ids.size());
}

}  // namespace arkvale
