// What the selection-quality tasks feed the dense run (evaluation protocol 5): LongBench records, or windows of any
// text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arkvale/status.h"
#include "engine/runtime.h"

namespace arkvale::tools {

struct QualityInput {
  std::string id;
  std::vector<int32_t> context;  // prefilled
  std::vector<int32_t> fed;      // fed step by step: a question, or the text that follows
  bool answers = false;          // then the greedy answer is fed, until the steps are done or it ends
};

// Which records of which sets. Empty `sets`: those that DIR has files of.
struct LongBenchSource {
  std::string dir;
  std::vector<std::string> sets;
  int64_t n_records = 0;   // first ones of each set
  int64_t max_prompt = 0;  // tokens; 0 = what fits the context
  bool chat = false;
};

// The first `n_records` windows of a text: `context_tokens` prefilled, `steps` fed.
struct TextSource {
  std::string path;
  int64_t n_records = 0, context_tokens = 0;
};

// Errors as ReadText and ReadLongBench; InvalidArgument where a text is too short.
Result<std::vector<QualityInput>> ReadTextInputs(const Runtime& runtime, const TextSource& source, int64_t steps);
Result<std::vector<QualityInput>> ReadLongBenchInputs(const Runtime& runtime, const LongBenchSource& source);

}  // namespace arkvale::tools
