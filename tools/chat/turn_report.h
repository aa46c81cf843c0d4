// What is said about a turn: one line on stderr, /stats, and the warning that a budget finds too little.
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "arkvale/stats.h"

namespace arkvale::tools {

// What one turn added to the counters of its sequence.
struct TurnCounts {
  int64_t steps = 0, recalled = 0, evicted = 0;
  KvAudit audit;
};

// `before` is the state after the turn before; a sequence that was made anew since then began at 0.
TurnCounts CountTurn(const KvStats& before, const KvStats& after);

// "turn 2: 7213 tokens, 7160 of them reused; ..."
std::string TurnLine(int64_t turn, const GenerateResult& result, const TurnCounts& counts);

// Lines of /stats. `last` and `counts` are those of the last turn, `n_turns` answered ones since the start or /reset.
std::string StatsText(int64_t n_turns, int64_t n_tokens, const KvStats& stats, const GenerateResult& last,
                      const TurnCounts& counts);

// What to do about a turn whose steps read too little of the true attention; empty where it read enough or nothing was
// audited.
std::string RecallWarning(const KvAudit& audit, const KvOptions& kv);

}  // namespace arkvale::tools
