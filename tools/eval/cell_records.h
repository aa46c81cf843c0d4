// Records of a run sorted by cell, and the cells of Markdown tables: what reports of eval tasks share.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "arkvale/kv_options.h"
#include "tools/common/json.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

using RecordsById = std::map<std::string, const Json*>;  // by `record_id`

// Those of each cell, by its CellFields; a field that a record of an earlier run lacks is null. Points into `records`.
std::vector<RecordsById> SortByCell(const RunInfo& run, const std::vector<KvOptions>& cells,
                                    const std::vector<const Json*>& records);

// Mean of a field over the records where it is a number, or a boolean (as 0 and 1); null where it is neither in any.
Json MeanOf(const RecordsById& records, const char* field);

// {schema, task, model, model_sha256_prefix, feed, cells, machine}
Json CellSummary(const RunInfo& run, const Json& rows);

// Means of a cell's scores and of the dense run's on the same records, their paired difference, and intervals: records,
// score .. diff_hi.
Json PairedScores(std::span<const double> scores, std::span<const double> dense_scores);

// "| 1 | 2 |\n" ; the lines that begin a table.
std::string MarkdownRow(const std::vector<std::string>& cells);
std::string MarkdownHead(const std::vector<std::string>& names);

// The sentence above a table that says how its questions were fed.
std::string FeedingSentence(const Json& summary);

// A field of a summary's row; "-" where it is null.
std::string Number(const Json& row, const char* name, double factor = 1);
std::string Name(const Json& row, const char* name);
// "arkvale", or with its plan: "arkvale, plan-1024-89abcdef".
std::string PolicyName(const Json& row);
// "code2", or with its zone: "code2, zone 1024".
std::string SummaryName(const Json& row);

}  // namespace arkvale::tools
