// What `eval passkey` tells: records, the summary, the table.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/answer.h"
#include "tools/eval/passkey_text.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

// The fields that name a record of a cell, known before it runs.
Json PasskeyLabels(const RunInfo& run, const PasskeyRecord& record, const KvOptions& options, int32_t max_new);
// The fields that judge its answer.
Json PasskeyResult(const PasskeyRecord& record, const Answer& answer);

// `cells`: dense first; `records`: every cell's, at least the dense one's of each length.
Json PasskeySummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records);
std::string PasskeyTable(const Json& summary);

}  // namespace arkvale::tools
