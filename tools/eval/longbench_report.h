// What `eval longbench` tells: records, the summary, the table.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/answer.h"
#include "tools/eval/longbench_records.h"
#include "tools/eval/longbench_sets.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

// Which record of which set, and how it is asked.
struct LongBenchRecordId {
  const LongBenchSet* set = nullptr;
  const LongBenchRecord* record = nullptr;
  int64_t index = 0;  // in its file
  int64_t max_prompt = 0;
  bool chat = false;  // wrapped in a chat template
};

// The fields that name a record of a cell, known before it runs.
Json LongBenchLabels(const RunInfo& run, const LongBenchRecordId& id, const KvOptions& options);
// The fields that judge its answer. `dense`: the same record under full attention, null for that record itself; where
// it has an error nothing can agree with it.
Json LongBenchResult(const LongBenchRecordId& id, bool truncated, const Answer& answer, const Json& dense);

// `cells`: dense first; `records`: every cell's, the dense ones of each set in the order of its file.
Json LongBenchSummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records);
std::string LongBenchTable(const Json& summary);

}  // namespace arkvale::tools
