// Records of eval ruler as ids: the size of the haystack that a length has room for.
#pragma once

#include <span>
#include <string>

#include "text/tokenizer.h"
#include "tools/eval/record_runner.h"
#include "tools/eval/ruler_report.h"

namespace arkvale::tools {

struct RulerRecord {
  RulerText text;
  int64_t size = 0;  // of the haystack
  RecordPrompt prompt;
};

// The largest record whose context, question and longest answer have at most T tokens. InvalidArgument where not even
// the smallest haystack fits. `book` as in MakeRulerText.
Result<RulerRecord> MakeRulerRecord(const Tokenizer& tokenizer, const RulerRecordId& id,
                                    std::span<const std::string> book);

}  // namespace arkvale::tools
