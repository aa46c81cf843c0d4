// Generation: one request of three stages (algorithms 5).
#pragma once

#include "arkvale/engine.h"
#include "engine/prefix_cache.h"
#include "engine/runtime.h"

namespace arkvale {

// Errors as Engine::Generate. `result` is filled as the run goes on: after an error it holds what was produced.
Status RunGeneration(Runtime& runtime, PrefixCache& prefixes, const GenerateRequest& request,
                     const GenerateCallbacks& callbacks, GenerateResult& result);

}  // namespace arkvale
