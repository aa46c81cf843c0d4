// What `eval fidelity` tells in the end: the summary, the tables.
#pragma once

#include <string>
#include <vector>

#include "tools/eval/fidelity_totals.h"

namespace arkvale::tools {

// `totals`: per context length those of each of `cells`.
Json FidelitySummaryJson(const FidelityCells& cells, const std::vector<std::vector<CellTotals>>& totals);
std::string FidelityTable(const Json& summary);

}  // namespace arkvale::tools
