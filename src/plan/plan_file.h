// A plan as the text of its file (doc/formats.md, "Plan"). The caller reads and writes the file.
#pragma once

#include <string>
#include <string_view>

#include "arkvale/status.h"
#include "plan/kv_plan.h"

namespace arkvale {

inline constexpr int kPlanVersion = 1;
inline constexpr size_t kMaxPlanBytes = size_t{1} << 20;

// Any bytes give a valid plan or Corrupt with one line that names the field; the caller adds the file's name.
Result<KvPlan> ParsePlan(std::string_view text);

// The text, which ends with a newline. InvalidArgument where the plan is not valid, made_by is no JSON object, or the
// text would be longer than a reader accepts. ParsePlan gives the plan back, with made_by's keys in order; a "model" in
// made_by gives way to model_name.
Result<std::string> FormatPlan(const KvPlan& plan);

}  // namespace arkvale
