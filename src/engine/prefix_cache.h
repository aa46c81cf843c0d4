// PrefixCache: prompts that were prefilled stay in the KV cache, so that a later prompt that begins with the same
// tokens is a fork of them. A result does not change by a bit: only tokens that were prefilled are kept, never those of
// decode steps.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <span>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"
#include "engine/runtime.h"
#include "engine/session.h"

namespace arkvale {

// Threads: as Runtime, which must outlive it.
class PrefixCache {
 public:
  // Prompts up to `limit` are kept, the least recently used goes first; 0 = none.
  PrefixCache(Runtime& runtime, int32_t limit) : runtime_(runtime), limit_(limit) {}

  // A sequence under `options` that holds the longest kept prefix of `ids`, perhaps none; at least one of `ids` is left
  // to prefill. Errors as Session::Make.
  Result<Session> Start(const KvOptions& options, std::span<const int32_t> ids);

  // Keeps the tokens of `session` that came by prefill. Blocks are shared with it, nothing is copied. Where memory is
  // short nothing is kept.
  void Keep(const Session& session);

  // Runs `call`; where it ends with ResourceExhausted, forgets all that is kept and runs it once more.
  Status WithMemory(const std::function<Status()>& call);

 private:
  Runtime& runtime_;
  const int32_t limit_;
  std::list<Session> kept_;  // the least recently used first
};

}  // namespace arkvale
