// State behind Engine, shared by engine.cc and chat.cc. Nobody else's header.
#pragma once

#include <memory>
#include <utility>

#include "arkvale/engine.h"
#include "engine/prefix_cache.h"
#include "engine/runtime.h"

namespace arkvale {

struct Engine::Impl {
  Impl(std::unique_ptr<Runtime> r, int32_t kept_sequences)
      : runtime(std::move(r)), prefixes(*runtime, kept_sequences) {}

  const std::unique_ptr<Runtime> runtime;
  PrefixCache prefixes;
};

}  // namespace arkvale
