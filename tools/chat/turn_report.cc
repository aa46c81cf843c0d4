#include "tools/chat/turn_report.h"

#include <cstdio>

#include "tools/common/format.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {
namespace {

constexpr double kLowMassRecall = 0.8;

double PerStep(int64_t n, int64_t steps) { return steps > 0 ? static_cast<double>(n) / static_cast<double>(steps) : 0; }

}  // namespace

TurnCounts CountTurn(const KvStats& before, const KvStats& after) {
  const bool anew = after.steps < before.steps || after.counters.inserted < before.counters.inserted;
  const KvStats from = anew ? KvStats() : before;
  return {.steps = after.steps - from.steps,
          .recalled = after.counters.recalled - from.counters.recalled,
          .evicted = after.counters.evicted - from.counters.evicted,
          .audit = {.samples = after.audit.samples - from.audit.samples,
                    .set_recall_sum = after.audit.set_recall_sum - from.audit.set_recall_sum,
                    .mass_recall_sum = after.audit.mass_recall_sum - from.audit.mass_recall_sum}};
}

std::string TurnLine(int64_t turn, const GenerateResult& r, const TurnCounts& counts) {
  return Format(
      "turn %lld: %lld tokens, %lld of them reused; first token after %.0f ms; %zu tokens (%s) at %.1f tokens/s; %.1f "
      "recalls per step\n",
      static_cast<long long>(turn), static_cast<long long>(r.prompt_tokens), static_cast<long long>(r.reused_tokens),
      r.ttft_ms, r.token_ids.size(), r.stop_reason.c_str(), PerSecond(1, r.decode_ms_median),
      PerStep(counts.recalled, counts.steps));
}

std::string StatsText(int64_t n_turns, int64_t n_tokens, const KvStats& stats, const GenerateResult& last,
                      const TurnCounts& counts) {
  std::string text =
      Format("turns %lld, tokens %lld\n", static_cast<long long>(n_turns), static_cast<long long>(n_tokens));
  text += Format("KV cache: %.1f MiB hot + %.1f MiB digests of %.1f MiB dense, %.1f MiB in all\n", MiB(stats.hot_bytes),
                 MiB(stats.digest_bytes), MiB(stats.full_bytes), MiB(stats.total_bytes));
  text += Format("pages: %lld evicted, %lld recalled, %.1f recalls per step\n",
                 static_cast<long long>(stats.counters.evicted), static_cast<long long>(stats.counters.recalled),
                 PerStep(stats.counters.recalled, stats.steps));
  if (stats.audit.samples > 0) {
    text += Format("audit: %.1f %% of the attention mass read, %.1f %% of the best pages selected (%lld samples)\n",
                   100 * stats.audit.mass_recall(), 100 * stats.audit.set_recall(),
                   static_cast<long long>(stats.audit.samples));
  }
  if (n_turns == 0) return text;
  return text + Format("last turn: first token after %.0f ms, %.1f tokens/s, %.1f recalls per step\n", last.ttft_ms,
                       PerSecond(1, last.decode_ms_median), PerStep(counts.recalled, counts.steps));
}

std::string RecallWarning(const KvAudit& audit, const KvOptions& kv) {
  if (audit.samples == 0 || audit.mass_recall() >= kLowMassRecall) return {};
  std::string text =
      Format("the last answer read only %.0f %% of the attention mass: try a larger --kv-budget (now %lld)",
             100 * audit.mass_recall(), static_cast<long long>(MeanBudgetTokens(kv)));
  return text + (kv.digest == DigestKind::kCode2 ? "\n" : " or --kv-digest code2\n");
}

}  // namespace arkvale::tools
