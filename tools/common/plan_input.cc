#include "tools/common/plan_input.h"

#include <filesystem>

#include "base/sha256.h"
#include "tools/common/text_input.h"

namespace arkvale::tools {

Result<PlanInput> ReadPlan(const std::string& path) {
  constexpr size_t kHashDigits = 8;
  if (path == "-") return InvalidArgument("plan -: standard input may hold other texts, give a file");
  auto text = ReadRules(path);
  if (text.status().kind() == StatusKind::kInvalidArgument) {
    return Corrupt(path + ": more than " + std::to_string(kMaxRulesBytes) + " bytes, which no plan has");
  }
  ARKVALE_RETURN_IF_ERROR(text.status());
  const std::string stem = std::filesystem::path(path).stem().string();
  return PlanInput{.path = path, .text = *text, .name = stem + "-" + Sha256Hex(*text).substr(0, kHashDigits)};
}

int64_t MeanBudgetTokens(const KvOptions& options) {
  int64_t sum = 0, n = 0;
  for (const int64_t tokens : options.layer_budget_tokens) {
    sum += tokens;
    n += tokens > 0 ? 1 : 0;
  }
  return n == 0 ? options.budget_tokens : (sum + n / 2) / n;
}

}  // namespace arkvale::tools
