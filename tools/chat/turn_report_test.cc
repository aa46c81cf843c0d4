#include "tools/chat/turn_report.h"

#include <gtest/gtest.h>

namespace arkvale::tools {
namespace {

KvStats Stats(int64_t steps, int64_t recalled, int64_t samples, double mass) {
  KvStats stats;
  stats.steps = steps;
  stats.counters.recalled = recalled;
  stats.audit = {.samples = samples, .mass_recall_sum = mass};
  return stats;
}

TEST(CountTurn, IsTheDifferenceUnlessTheSequenceIsNew) {
  const TurnCounts counts = CountTurn(Stats(10, 100, 4, 3.0), Stats(16, 130, 6, 4.0));
  EXPECT_EQ(counts.steps, 6);
  EXPECT_EQ(counts.recalled, 30);
  EXPECT_EQ(counts.audit.samples, 2);
  EXPECT_DOUBLE_EQ(counts.audit.mass_recall(), 0.5);
  EXPECT_EQ(CountTurn(Stats(10, 100, 4, 3.0), Stats(6, 30, 2, 2.0)).recalled, 30);
}

TEST(RecallWarning, SaysTheNumberAndWhatHelps) {
  KvOptions kv;
  kv.budget_tokens = 512;
  kv.digest = DigestKind::kCuboidMean;
  EXPECT_EQ(RecallWarning({}, kv), "") << "nothing was audited";
  EXPECT_EQ(RecallWarning({.samples = 10, .mass_recall_sum = 8.0}, kv), "");
  const std::string text = RecallWarning({.samples = 10, .mass_recall_sum = 6.3}, kv);
  for (const char* part : {"63 %", "--kv-budget (now 512)", "--kv-digest code2"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  kv.digest = DigestKind::kCode2;
  EXPECT_EQ(RecallWarning({.samples = 10, .mass_recall_sum = 6.3}, kv).find("code2"), std::string::npos);
}

TEST(TurnLine, OneLineWithTheUnits) {
  GenerateResult result;
  result.prompt_tokens = 7213;
  result.reused_tokens = 7160;
  result.ttft_ms = 411.6;
  result.token_ids = {1, 2};
  result.stop_reason = "eog";
  result.decode_ms_median = 25;
  EXPECT_EQ(TurnLine(2, result, {.steps = 4, .recalled = 10}),
            "turn 2: 7213 tokens, 7160 of them reused; first token after 412 ms; 2 tokens (eog) at 40.0 tokens/s; 2.5 "
            "recalls per step\n");
}

TEST(StatsText, ShowsTheAuditOnlyWhereThereIsOne) {
  EXPECT_EQ(StatsText(0, 0, {}, {}, {}).find("audit"), std::string::npos);
  EXPECT_NE(StatsText(1, 50, Stats(4, 10, 2, 1.0), {}, {}).find("50.0 % of the attention mass"), std::string::npos);
}

}  // namespace
}  // namespace arkvale::tools
