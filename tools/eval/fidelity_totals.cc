#include "tools/eval/fidelity_totals.h"

#include <algorithm>
#include <utility>

namespace arkvale::tools {
namespace {

void Append(const std::vector<double>& from, std::vector<double>& to) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

WindowSteps WindowTotals::AllCopies() const {
  WindowSteps all;
  for (const auto& [start, steps] : copies) all.insert(all.end(), steps.begin(), steps.end());
  return all;
}

WindowTotals& CellTotals::Window(const std::string& id) {
  const auto found = std::find_if(windows.rbegin(), windows.rend(), [&](const auto& w) { return w.id == id; });
  if (found != windows.rend()) return *found;
  windows.emplace_back().id = id;
  return windows.back();
}

void CellTotals::Add(const SegmentRun& run) {
  kv_hot_bytes = std::max(kv_hot_bytes, run.kv_hot_bytes);
  kv_total_bytes = std::max(kv_total_bytes, run.kv_total_bytes);
  digest_bytes = std::max(digest_bytes, run.digest_bytes);
  kv_step_bytes = std::max(kv_step_bytes, run.kv_step_bytes);
  audit.Add(run.audit);
  floor_errors += run.floor_error.empty() ? 0 : 1;
  WindowTotals& window = Window(run.segment.WindowId());
  const bool copy = run.segment.copy();
  Append(run.kl_floor, copy ? kl_floor_copy : kl_floor);
  if (!run.error.empty()) {
    ++errors;
    (copy ? window.copy_failed : window.prose_failed) = true;
    return;
  }
  (copy ? window.copies[run.segment.copy_start] : window.prose) = run.steps;
  Append(run.step_ms, step_ms);
  steps_ms += run.wall_ms;
  estimate_select_ms += run.estimate_select_ms;
  prefill_kl.push_back(run.prefill_kl_nats);
  hot_tokens.push_back(run.hot_tokens_per_layer);
  recalls.push_back(run.recalls_per_step);
}

std::vector<WindowSteps> CellTotals::Prose() const {
  std::vector<WindowSteps> steps;
  for (const WindowTotals& window : windows) {
    if (!window.prose.empty()) steps.push_back(window.prose);
  }
  return steps;
}

std::vector<WindowSteps> CellTotals::Copies() const {
  std::vector<WindowSteps> steps;
  for (const WindowTotals& window : windows) {
    if (!window.copies.empty()) steps.push_back(window.AllCopies());
  }
  return steps;
}

std::map<int64_t, std::vector<WindowSteps>> CellTotals::CopiesByStart() const {
  std::map<int64_t, std::vector<WindowSteps>> by_start;
  for (const WindowTotals& window : windows) {
    for (const auto& [start, steps] : window.copies) by_start[start].push_back(steps);
  }
  return by_start;
}

}  // namespace arkvale::tools
