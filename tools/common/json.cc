#include "tools/common/json.h"

#include "base/machine.h"
#include "tools/common/build_info.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {
namespace {

Json Mean(int64_t sum, int64_t n) {
  return n == 0 ? Json(0.0) : Json(static_cast<double>(sum) / static_cast<double>(n));
}

}  // namespace

Json MachineJson(int32_t threads) {
  const std::string commit = Commit();
  return {{"cpu", CpuName()},
          {"threads", threads},
          {"cores", PhysicalCores()},
          {"memory_bytes", MemoryBytes()},
          {"compiler", Compiler()},
          {"build_type", BuildType()},
          {"commit", commit.empty() ? Json(nullptr) : Json(commit)}};
}

Json MemoryJson() { return {{"rss_peak_bytes", PeakRssBytes()}}; }

Json KvJson(const KvOptions& options, KvType type, const KvStats& stats) {
  const bool full = options.policy == KvPolicyKind::kFull;
  const bool audited = stats.audit.samples > 0;
  const KvCounters& c = stats.counters;
  return {{"policy", KvPolicyName(options.policy)},
          {"budget_tokens", full ? 0 : MeanBudgetTokens(options)},
          {"page_tokens", options.page_tokens},
          {"kv_type", KvTypeName(type)},
          {"digest", BudgetsPages(options.policy) ? Json(DigestName(options.ResolvedDigest())) : Json(nullptr)},
          {"hot_bytes", stats.hot_bytes},
          {"hot_bytes_peak", stats.hot_bytes_peak},
          {"digest_bytes", stats.digest_bytes},
          {"step_bytes", stats.step_bytes},
          {"host_bytes", stats.host_bytes},
          {"disk_bytes", 0},
          {"full_bytes", stats.full_bytes},
          {"recalled_pages", c.recalled},
          {"evicted_pages", c.evicted},
          {"recalled_bytes", c.recalled_bytes},
          {"recalls_per_step_mean", Mean(c.recalled, stats.steps)},
          {"selected_pages_mean", Mean(c.selected_pages, c.scored_steps)},
          {"scored_steps", c.scored_steps},
          {"total_bytes", stats.total_bytes},
          {"audit_recall", audited ? Json(stats.audit.set_recall()) : Json(nullptr)},
          {"audit_mass_recall", audited ? Json(stats.audit.mass_recall()) : Json(nullptr)}};
}

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace arkvale::tools
