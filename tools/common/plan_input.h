// Plan files as commands are given them. What they say is the engine's to read (Engine::ApplyPlan).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "arkvale/kv_options.h"
#include "arkvale/status.h"

namespace arkvale::tools {

struct PlanInput {
  std::string path, text;
  std::string name;  // for records and tables: the file's stem and the first 8 hex digits of its SHA-256
};

// NotFound where it cannot be read; Corrupt where it is not UTF-8 or longer than any plan.
Result<PlanInput> ReadPlan(const std::string& path);

// ApplyPlan of the engine or runtime that loaded the model.
using ApplyPlanText = std::function<Status(std::string_view text, KvOptions& options)>;

// For one line: the budget, or the mean of the layers that have their own (rounded), as a plan gives them.
int64_t MeanBudgetTokens(const KvOptions& options);

}  // namespace arkvale::tools
