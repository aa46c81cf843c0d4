// The JSON document of one answer.
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/engine.h"
#include "tools/common/json.h"

namespace arkvale::tools {

// The cache that answered.
struct AnswerCache {
  KvOptions options;
  KvType type = KvType::kF16;
  std::string plan_path;  // --kv-plan; empty: none
};

// {text, token_ids, stop_reason, tokens, timings, kv, memory, machine}; times that were not reached are null. `kv` has
// the plan's path (or null) beside the fields of KvJson.
Json AnswerJson(AnswerCache cache, const GenerateResult& result, int32_t threads);

}  // namespace arkvale::tools
