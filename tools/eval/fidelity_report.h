// What `eval fidelity` tells: records per window, the summary, the table.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/eval/lockstep.h"
#include "tools/eval/records.h"

namespace arkvale::tools {

// One run of all cells over the steps of one window.
struct SegmentInfo {
  std::string text;            // the file's name
  int64_t window = 0;          // within the file
  int64_t start_token = 0;     // of the window within the text
  int64_t context_tokens = 0;  // N
  int64_t copy_start = -1;     // A of a copy run; -1: the steps continue the text

  bool copy() const { return copy_start >= 0; }
  std::string Id() const;
};

// All windows of one cell at one context length.
struct CellTotals {
  CellTotals(const KvOptions& o, int64_t n) : options(o), context_tokens(n) {}

  KvOptions options;
  int64_t context_tokens = 0;
  std::vector<WindowSteps> prose;
  std::map<std::string, WindowSteps> copy;                         // by window: its copy runs are not independent
  std::map<int64_t, std::vector<WindowSteps>> copy_starts;         // by A
  std::vector<double> step_ms;                                     // every step
  std::vector<double> prefill_kl, hot_tokens, recalls;             // every run
  double steps_ms = 0, estimate_select_ms = 0;                     // sums over all steps
  int64_t kv_hot_bytes = 0, kv_total_bytes = 0, digest_bytes = 0;  // largest
  KvAudit audit;
  int64_t errors = 0;

  void Add(const SegmentInfo& segment, const CellRun& run);
};

// What a cell's records share: the dense reference keeps f16 whatever the cells do.
RunInfo CellInfo(RunInfo run, size_t cell);

Json WindowRecord(const RunInfo& run, const SegmentInfo& segment, const KvOptions& options, const CellRun& cell);
// Lines of --steps-out, one per step.
std::string StepLines(const RunInfo& run, const SegmentInfo& segment, const KvOptions& options, const CellRun& cell);

// `totals`: per context length the dense cell, the floor cell, then the others.
Json FidelitySummaryJson(const RunInfo& run, const std::vector<std::vector<CellTotals>>& totals);
std::string FidelityTable(const Json& summary);

}  // namespace arkvale::tools
