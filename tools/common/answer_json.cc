#include "tools/common/answer_json.h"

#include "tools/common/format.h"

namespace arkvale::tools {

Json AnswerJson(AnswerCache cache, const GenerateResult& r, int32_t threads) {
  cache.options.budget_tokens = r.budget_tokens;
  Json kv = KvJson(cache.options, cache.type, r.kv);
  kv["plan"] = cache.plan_path.empty() ? Json(nullptr) : Json(cache.plan_path);
  const auto n_prefilled = static_cast<double>(r.prompt_tokens - r.reused_tokens);
  return {{"text", r.text},
          {"token_ids", r.token_ids},
          {"stop_reason", r.stop_reason},
          {"tokens",
           {{"prompt", r.prompt_tokens},
            {"reused", r.reused_tokens},
            {"question", r.question_tokens},
            {"generated", r.token_ids.size()}}},
          {"timings",
           {{"load_ms", r.load_ms},
            {"ttft_ms", PositiveOrNull(r.ttft_ms)},
            {"prefill_ms", PositiveOrNull(r.prefill_ms)},
            {"prefill_tokens_per_s", PositiveOrNull(PerSecond(n_prefilled, r.prefill_ms))},
            {"decode_ms_median", PositiveOrNull(r.decode_ms_median)},
            {"decode_ms_p95", PositiveOrNull(r.decode_ms_p95)},
            {"decode_tokens_per_s", PositiveOrNull(PerSecond(1, r.decode_ms_median))}}},
          {"kv", kv},
          {"memory", MemoryJson()},
          {"machine", MachineJson(threads)}};
}

}  // namespace arkvale::tools
