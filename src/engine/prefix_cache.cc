#include "engine/prefix_cache.h"

#include <utility>

#include "engine/prefix_reuse.h"

namespace arkvale {
namespace {

// Below this a fork saves less than it costs in blocks held.
constexpr int64_t kMinReuseTokens = 64;

ReuseSource SourceOf(const Session& session) { return {session.ids(), session.MinForkDepth()}; }

}  // namespace

Result<Session> PrefixCache::Start(const KvOptions& options, std::span<const int32_t> ids) {
  auto best = kept_.end();
  int64_t depth = 0;
  if (KeepsAllTokens(options.policy)) {
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      const int64_t n = ReusableTokens(ids, SourceOf(*it), kMinReuseTokens);
      if (n <= depth) continue;
      best = it;
      depth = n;
    }
  }
  if (depth > 0) {
    kept_.splice(kept_.end(), kept_, best);
    auto fork = best->ForkAt(options, depth);
    if (fork.ok() || fork.status().kind() != StatusKind::kResourceExhausted) return fork;
    kept_.clear();
  }
  auto made = Session::Make(runtime_, options);
  if (made.ok() || made.status().kind() != StatusKind::kResourceExhausted || kept_.empty()) return made;
  kept_.clear();
  return Session::Make(runtime_, options);
}

void PrefixCache::Keep(const Session& session) {
  const int64_t depth = session.n_prefilled();
  if (limit_ == 0 || depth < kMinReuseTokens) return;
  const ReuseSource wanted{session.ids().first(static_cast<size_t>(depth)), session.MinForkDepth()};
  for (auto it = kept_.begin(); it != kept_.end(); ++it) {
    if (!Covers(SourceOf(*it), wanted)) continue;
    kept_.splice(kept_.end(), kept_, it);
    return;
  }
  // Under the full policy a sequence has no pages and digests: it is a list of blocks.
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  auto fork = session.ForkAt(full, depth);
  if (!fork.ok()) return;
  kept_.remove_if([&](const Session& old) { return Covers(SourceOf(*fork), SourceOf(old)); });
  kept_.push_back(std::move(*fork));
  if (kept_.size() > static_cast<size_t>(limit_)) kept_.pop_front();
}

Status PrefixCache::WithMemory(const std::function<Status()>& call) {
  Status status = call();
  if (status.kind() != StatusKind::kResourceExhausted || kept_.empty()) return status;
  kept_.clear();
  return call();
}

}  // namespace arkvale
