// What the summary of `eval fidelity` gathers of the records of one cell.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/eval/fidelity_records.h"

namespace arkvale::tools {

// Steps of one window under one cell.
struct WindowTotals {
  std::string id;
  WindowSteps prose;                      // empty: none, or an error
  std::map<int64_t, WindowSteps> copies;  // by A, without those that ended with an error
  bool prose_failed = false, copy_failed = false;

  WindowSteps AllCopies() const;  // of all A: runs of one window are not independent
};

// All windows of one cell at one context length.
struct CellTotals {
  CellTotals(const KvOptions& o, int64_t n) : options(o), context_tokens(n) {}

  KvOptions options;
  int64_t context_tokens = 0;
  std::string plan;                                     // that made the cell; empty: none
  std::vector<WindowTotals> windows;                    // in the order of their first record
  std::vector<double> kl_floor, kl_floor_copy;          // every step; of dense attention
  std::vector<double> step_ms;                          // every step
  std::vector<double> prefill_kl, hot_tokens, recalls;  // every run
  double steps_ms = 0, estimate_select_ms = 0;          // sums over all steps
  int64_t kv_hot_bytes = 0, kv_total_bytes = 0, digest_bytes = 0, kv_step_bytes = 0;  // largest
  KvAudit audit;
  int64_t errors = 0, floor_errors = 0;

  void Add(const SegmentRun& run);

  std::vector<WindowSteps> Prose() const;
  std::vector<WindowSteps> Copies() const;                            // all of a window
  std::map<int64_t, std::vector<WindowSteps>> CopiesByStart() const;  // by A

 private:
  WindowTotals& Window(const std::string& id);
};

}  // namespace arkvale::tools
