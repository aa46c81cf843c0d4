// The JSON document of one answer.
#pragma once

#include <cstdint>

#include "arkvale/engine.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// {text, token_ids, stop_reason, tokens, timings, kv, memory, machine}; times that were not reached are null.
Json AnswerJson(KvOptions kv, KvType type, const GenerateResult& result, int32_t threads);

}  // namespace arkvale::tools
