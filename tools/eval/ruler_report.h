// What `eval ruler` tells: records, the summary, the table.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/answer.h"
#include "tools/eval/records.h"
#include "tools/eval/ruler_text.h"

namespace arkvale::tools {

// What names a record before it is made.
struct RulerRecordId {
  const RulerTask* task = nullptr;
  uint64_t seed = 42;
  int64_t length_tokens = 0, index = 0;
  std::string book_sha256_prefix;  // of tasks with a book; else empty
};

// The fields that name a record of a cell.
Json RulerLabels(const RunInfo& run, const RulerRecordId& id, const KvOptions& options);
// The fields that judge its answer. `score` is a share; 0 for an answer with an error.
Json RulerResult(const RulerRecordId& id, const RulerText& text, int64_t size, const Answer& answer);

// Per length, task and cell: `score` and `score_dense`, 0..100, with intervals by bootstrap over records; that of
// `diff`, the score less the dense one, is paired. `cells`: dense first; `records`: every cell's.
Json RulerSummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records);
// `summary` may hold `left_out`, a list of {ruler_task, length_tokens} that no record fits.
std::string RulerTable(const Json& summary);

}  // namespace arkvale::tools
