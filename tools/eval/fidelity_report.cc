#include "tools/eval/fidelity_report.h"

#include <algorithm>
#include <numeric>

#include "base/quantile.h"

namespace arkvale::tools {
namespace {

constexpr double kMsPerNs = 1e-6;

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

double Sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double MeanKl(const std::vector<WindowSteps>& windows) { return Summarise(windows).kl_mean; }

std::vector<WindowSteps> Copies(const CellTotals& totals) {
  std::vector<WindowSteps> windows;
  for (const auto& [window, steps] : totals.copy) windows.push_back(steps);
  return windows;
}

void AddProse(const FidelitySummary& s, double kl_floor, Json& row) {
  row.update({{"windows", s.n_windows},
              {"steps", s.n_steps},
              {"kl_mean", s.kl_mean},
              {"kl_lo", s.kl_interval.lo},
              {"kl_hi", s.kl_interval.hi},
              {"kl_median", s.kl_median},
              {"kl_p90", s.kl_p90},
              {"kl_p95", s.kl_p95},
              {"kl_p99", s.kl_p99},
              {"kl_p999", OrNull(s.kl_p999)},
              {"kl_max", s.kl_max},
              {"kl_windows", s.kl_windows},
              {"kl_blocks", s.kl_blocks},
              {"kl_floor", kl_floor},
              {"at_floor", AtFloor(s.kl_mean, kl_floor)},
              {"same_top", s.same_top},
              {"same_top_clear", OrNull(s.same_top_clear)},
              {"same_answer", s.same_answer},
              {"ppl", s.ppl},
              {"ppl_dense", s.ppl_dense},
              {"ppl_ratio", s.ppl_ratio},
              {"ppl_ratio_se", s.ppl_ratio_se},
              {"dp_mean", s.dp_mean},
              {"dp_rms", s.dp_rms}});
}

void AddCopy(const CellTotals& totals, const CellTotals& floor, Json& row) {
  if (totals.copy.empty()) return;
  const FidelitySummary s = Summarise(Copies(totals));
  const double kl_floor = MeanKl(Copies(floor));
  Json starts = Json::array();
  for (const auto& [start, windows] : totals.copy_starts) {
    const FidelitySummary at = Summarise(windows);
    starts.push_back({{"copy_start", start}, {"kl_copy", at.kl_mean}, {"same_top_copy", at.same_top}});
  }
  row.update({{"steps_copy", s.n_steps},
              {"kl_copy", s.kl_mean},
              {"kl_copy_lo", s.kl_interval.lo},
              {"kl_copy_hi", s.kl_interval.hi},
              {"kl_copy_p99", s.kl_p99},
              {"kl_copy_floor", kl_floor},
              {"at_floor_copy", AtFloor(s.kl_mean, kl_floor)},
              {"same_top_copy", s.same_top},
              {"copy_starts", starts}});
}

Json CellRow(const RunInfo& run, const CellTotals& totals, const CellTotals& floor) {
  Json row = CellFields(run, totals.options);
  row["context_tokens"] = totals.context_tokens;
  AddProse(Summarise(totals.prose), MeanKl(floor.prose), row);
  AddCopy(totals, floor, row);
  const bool audited = totals.audit.samples > 0;
  row.update({{"prefill_kl_nats", Mean(totals.prefill_kl)},
              {"kv_hot_bytes", totals.kv_hot_bytes},
              {"kv_total_bytes", totals.kv_total_bytes},
              {"digest_bytes", totals.digest_bytes},
              {"hot_tokens_per_layer_mean", Mean(totals.hot_tokens)},
              {"recalls_per_step_mean", Mean(totals.recalls)},
              {"audit_recall", audited ? Json(totals.audit.set_recall()) : Json(nullptr)},
              {"audit_mass_recall", audited ? Json(totals.audit.mass_recall()) : Json(nullptr)},
              {"step_ms_median", Median(totals.step_ms)},
              {"estimate_select_share", totals.steps_ms > 0 ? totals.estimate_select_ms / totals.steps_ms : 0},
              {"errors", totals.errors}});
  return row;
}

std::string KlCell(const Json& row, const std::string& name, const std::string& floored) {
  if (!row.contains(name)) return "-";
  if (row["policy"] == "full" && row["kv_type"] == KvTypeName(KvType::kF16)) return "0";
  if (row[floored].get<bool>()) return "<= floor";
  const std::string stem = name == "kl_mean" ? "kl" : name;
  return WithInterval(row[name].get<double>(), row[stem + "_lo"].get<double>(), row[stem + "_hi"].get<double>());
}

std::string Field(const Json& row, const char* name, double factor = 1) {
  const auto value = row.find(name);
  if (value == row.end() || value->is_null()) return "-";
  return value->is_number() ? Short(value->get<double>() * factor) : value->get<std::string>();
}

}  // namespace

std::string SegmentInfo::Id() const {
  return text + "/" + std::to_string(context_tokens) + "/" + std::to_string(window) + "/" +
         (copy() ? "copy" + std::to_string(copy_start) : "prose");
}

void CellTotals::Add(const SegmentInfo& segment, const CellRun& run) {
  kv_hot_bytes = std::max(kv_hot_bytes, run.stats.hot_bytes_peak);
  kv_total_bytes = std::max(kv_total_bytes, run.stats.total_bytes);
  digest_bytes = std::max(digest_bytes, run.stats.digest_bytes);
  audit.Add(run.stats.audit);
  if (!run.error.empty()) {
    ++errors;
    return;
  }
  if (segment.copy()) {
    WindowSteps& steps = copy[segment.text + "/" + std::to_string(segment.window)];
    steps.insert(steps.end(), run.steps.begin(), run.steps.end());
    copy_starts[segment.copy_start].push_back(run.steps);
  } else {
    prose.push_back(run.steps);
  }
  step_ms.insert(step_ms.end(), run.step_ms.begin(), run.step_ms.end());
  steps_ms += Sum(run.step_ms);
  estimate_select_ms += static_cast<double>(run.spent.estimate_ns + run.spent.select_ns) * kMsPerNs;
  prefill_kl.push_back(run.prefill_kl);
  hot_tokens.push_back(run.stats.hot_tokens_per_layer());
  recalls.push_back(RecallsPerStep(run.stats));
}

RunInfo CellInfo(RunInfo run, size_t cell) {
  if (cell <= kFloorCell) run.kv_type = KvType::kF16;
  return run;
}

Json WindowRecord(const RunInfo& run, const SegmentInfo& segment, const KvOptions& options, const CellRun& cell) {
  Json record = CellFields(run, options);
  record.update({{"seed", nullptr},
                 {"record_id", segment.Id()},
                 {"tokens_context", segment.context_tokens},
                 {"tokens_question", cell.step_ms.size()},  // fed one by one under the policy
                 {"tokens_generated", 0}});
  record.update(StatsFields(cell.stats));
  record.update({{"wall_ms", Sum(cell.step_ms)},
                 {"error", cell.error.empty() ? Json(nullptr) : Json(cell.error)},
                 {"text", segment.text},
                 {"window", segment.window},
                 {"start_token", segment.start_token},
                 {"copy_start", segment.copy() ? Json(segment.copy_start) : Json(nullptr)}});
  const bool ok = cell.error.empty();
  const FidelitySummary s = Summarise({&cell.steps, 1});
  const auto value = [&](double v) { return ok ? Json(v) : Json(nullptr); };
  record.update({{"kl_mean", value(s.kl_mean)},
                 {"kl_p99", value(s.kl_p99)},
                 {"kl_max", value(s.kl_max)},
                 {"same_top", value(s.same_top)},
                 {"same_answer", value(s.same_answer)},
                 {"ppl", value(s.ppl)},
                 {"ppl_dense", value(s.ppl_dense)},
                 {"ppl_ratio", value(s.ppl_ratio)},
                 {"prefill_kl_nats", value(cell.prefill_kl)},
                 {"step_ms_median", Median(cell.step_ms)}});
  return record;
}

std::string StepLines(const RunInfo& run, const SegmentInfo& segment, const KvOptions& options, const CellRun& cell) {
  const Json fields = CellFields(run, options);
  std::string lines;
  for (size_t j = 0; j < cell.steps.size(); ++j) {
    const StepFidelity& s = cell.steps[j];
    Json line = {{"record_id", segment.Id()}};
    for (const char* name : {"policy", "budget_tokens", "page_tokens", "digest", "kv_type"}) line[name] = fields[name];
    line.update({{"step", j},
                 {"kl", s.kl},
                 {"nll", s.nll},
                 {"nll_dense", s.nll_dense},
                 {"dp", s.dp},
                 {"same_top", s.same_top},
                 {"clear", s.clear},
                 {"step_ms", cell.step_ms[j]}});
    lines += Dump(line);
  }
  return lines;
}

Json FidelitySummaryJson(const RunInfo& run, const std::vector<std::vector<CellTotals>>& totals) {
  Json cells = Json::array();
  double kl_floor = 0;
  for (const std::vector<CellTotals>& at_length : totals) {
    const CellTotals& floor = at_length[kFloorCell];
    kl_floor = std::max(kl_floor, MeanKl(floor.prose));
    for (size_t c = 0; c < at_length.size(); ++c) {
      if (c != kFloorCell) cells.push_back(CellRow(CellInfo(run, c), at_length[c], floor));
    }
  }
  Json summary = {{"schema", "arkvale.eval/1"}, {"task", run.task}, {"model", run.model}};
  summary.update({{"model_sha256_prefix", run.model_sha256_prefix},
                  {"kl_floor", kl_floor},
                  {"cells", cells},
                  {"machine", MachineJson(run.threads)}});
  return summary;
}

std::string FidelityTable(const Json& summary) {
  std::string text =
      "KL to dense attention over f16 K and V in nats, mean [95 % interval over windows]; estimate + select as a share "
      "of a step's "
      "time\n\n"
      "| context | policy | budget | page | digest | kv | kl | kl p99 | same top | ppl ratio | kl copy | same top copy "
      "| "
      "hot "
      "tokens/layer | hot MiB | digest MiB | recalls/step | audit | step ms | est+sel |\n|";
  for (int i = 0; i < 19; ++i) text += " --- |";
  text += "\n";
  constexpr double kMiB = 1.0 / (1 << 20);
  for (const Json& row : summary["cells"]) {
    text += "| " + Field(row, "context_tokens") + " | " + Field(row, "policy") + " | " + Field(row, "budget_tokens") +
            " | " + Field(row, "page_tokens") + " | " + Field(row, "digest") + " | " + Field(row, "kv_type") + " | " +
            KlCell(row, "kl_mean", "at_floor") + " | " + Field(row, "kl_p99") + " | " + Field(row, "same_top") + " | " +
            Field(row, "ppl_ratio") + " | " + KlCell(row, "kl_copy", "at_floor_copy") + " | " +
            Field(row, "same_top_copy") + " | " + Field(row, "hot_tokens_per_layer_mean") + " | " +
            Field(row, "kv_hot_bytes", kMiB) + " | " + Field(row, "digest_bytes", kMiB) + " | " +
            Field(row, "recalls_per_step_mean") + " | " + Field(row, "audit_recall") + " | " +
            Field(row, "step_ms_median") + " | " + Field(row, "estimate_select_share", 100) + " % |\n";
  }
  const Json& dense = summary["cells"][kDenseCell];
  text += "\nfloor " + Short(summary["kl_floor"].get<double>()) +
          " nats (dense against dense, attention cut into other " + "partials); dense ppl " +
          Field(dense, "ppl_dense") + "; " + Field(dense, "windows") + " windows, " + Field(dense, "steps") +
          " steps\n";
  for (const Json& row : summary["cells"]) {
    if (row["errors"] != 0) {
      text += Field(row, "errors") + " windows of " + Field(row, "policy") + " " + Field(row, "budget_tokens") + " " +
              Field(row, "digest") + " ended with an error: see the records\n";
    }
  }
  return text;
}

}  // namespace arkvale::tools
