// Summary rows of the selection-quality tasks: made of the lines of records alone, whichever run wrote them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tools/common/json.h"

namespace arkvale::tools {

class QualitySummary {
 public:
  virtual ~QualitySummary() = default;
  // All lines of one record.
  virtual void Add(std::span<const Json> lines) = 0;
  virtual std::vector<Json> Rows() const = 0;
};

// Adds numbers in place, those of objects by name. What only one of the two has stays; null, which JSON has for a NaN,
// makes null.
void AddSums(const Json& more, Json& sums);

// A sum over what was counted; null where nothing was.
Json MeanOfSum(const Json& sum, const Json& count);

// For lines with an object `sums`: a row for each cell and value of the `labels`, in the order they come, with the
// measures of the sums over all records.
std::unique_ptr<QualitySummary> MakeSumsSummary(std::vector<std::string> labels, Json (*measures)(const Json& sums));

// A line's measures and the sums they come from.
void SetSums(Json sums, Json (*measures)(const Json& sums), Json& line);

}  // namespace arkvale::tools
