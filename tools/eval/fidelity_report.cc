#include "tools/eval/fidelity_report.h"

#include <algorithm>
#include <optional>

#include "base/quantile.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/fidelity_versus.h"

namespace arkvale::tools {
namespace {

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

void AddProse(const FidelitySummary& s, double kl_floor, Json& row) {
  // Where every window ended with an error there is no mean, and 0 would be the best one.
  const auto value = [&](double v) { return s.n_windows > 0 ? Json(v) : Json(nullptr); };
  row.update({{"windows", s.n_windows},
              {"steps", s.n_steps},
              {"kl_mean", value(s.kl_mean)},
              {"kl_lo", value(s.kl_interval.lo)},
              {"kl_hi", value(s.kl_interval.hi)},
              {"kl_median", value(s.kl_median)},
              {"kl_p90", value(s.kl_p90)},
              {"kl_p95", value(s.kl_p95)},
              {"kl_p99", value(s.kl_p99)},
              {"kl_p999", OrNull(s.kl_p999)},
              {"kl_max", value(s.kl_max)},
              {"kl_windows", s.kl_windows},
              {"kl_blocks", s.kl_blocks},
              {"kl_floor", kl_floor},
              {"at_floor", s.n_windows > 0 && AtFloor(s.kl_mean, kl_floor)},
              {"same_top", value(s.same_top)},
              {"same_top_clear", OrNull(s.same_top_clear)},
              {"same_answer", value(s.same_answer)},
              {"ppl", value(s.ppl)},
              {"ppl_dense", value(s.ppl_dense)},
              {"ppl_ratio", value(s.ppl_ratio)},
              {"ppl_ratio_se", value(s.ppl_ratio_se)},
              {"dp_mean", value(s.dp_mean)},
              {"dp_rms", value(s.dp_rms)}});
}

void AddCopy(const CellTotals& totals, double kl_floor, Json& row) {
  const std::vector<WindowSteps> copies = totals.Copies();
  if (copies.empty()) return;
  const FidelitySummary s = Summarise(copies);
  Json starts = Json::array();
  for (const auto& [start, windows] : totals.CopiesByStart()) {
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

// `dense`: the totals of dense attention at the same length, with the floor.
Json CellRow(Json row, const CellTotals& totals, const CellTotals& dense) {
  row["context_tokens"] = totals.context_tokens;
  AddProse(Summarise(totals.Prose()), Mean(dense.kl_floor), row);
  AddCopy(totals, Mean(dense.kl_floor_copy), row);
  const bool audited = totals.audit.samples > 0;
  row.update({{"prefill_kl_nats", Mean(totals.prefill_kl)},
              {"kv_hot_bytes", totals.kv_hot_bytes},
              {"kv_total_bytes", totals.kv_total_bytes},
              {"digest_bytes", totals.digest_bytes},
              {"kv_step_bytes", totals.kv_step_bytes},
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
  if (!row.contains(name) || row[name].is_null()) return "-";
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

Json FidelitySummaryJson(const FidelityCells& cells, const std::vector<std::vector<CellTotals>>& totals) {
  Json rows = Json::array(), versus = Json::array();
  double kl_floor = 0;
  int64_t floor_errors = 0;
  for (const std::vector<CellTotals>& at_length : totals) {
    const CellTotals& dense = at_length[kDenseCell];
    kl_floor = std::max(kl_floor, Mean(dense.kl_floor));
    floor_errors += dense.floor_errors;
    for (size_t c = 0; c < at_length.size(); ++c) rows.push_back(CellRow(cells.Fields(c), at_length[c], dense));
    for (const Json& row : VersusRows(at_length)) versus.push_back(row);
  }
  return {{"schema", "arkvale.eval/1"},
          {"task", cells.run.task},
          {"model", cells.run.model},
          {"model_sha256_prefix", cells.run.model_sha256_prefix},
          {"kl_floor", kl_floor},
          {"floor_errors", floor_errors},
          {"cells", rows},
          {"versus", versus},
          {"machine", MachineJson(cells.run.threads)}};
}

std::string FidelityTable(const Json& summary) {
  std::string text =
      "KL to dense attention over f16 K and V in nats, mean [95 % interval over windows]; estimate + select as a share "
      "of a step's time\n\n" +
      MarkdownHead({"context",          "policy",    "budget",     "page",
                    "digest",           "kv",        "kl",         "kl p99",
                    "same top",         "ppl ratio", "kl copy",    "same top copy",
                    "hot tokens/layer", "hot MiB",   "digest MiB", "MiB/step",
                    "recalls/step",     "audit",     "step ms",    "est+sel"});
  constexpr double kMiB = 1.0 / (1 << 20);
  for (const Json& row : summary["cells"]) {
    text += MarkdownRow({Field(row, "context_tokens"),
                         PolicyName(row),
                         Field(row, "budget_tokens"),
                         Field(row, "page_tokens"),
                         SummaryName(row),
                         Field(row, "kv_type"),
                         KlCell(row, "kl_mean", "at_floor"),
                         Field(row, "kl_p99"),
                         Field(row, "same_top"),
                         Field(row, "ppl_ratio"),
                         KlCell(row, "kl_copy", "at_floor_copy"),
                         Field(row, "same_top_copy"),
                         Field(row, "hot_tokens_per_layer_mean"),
                         Field(row, "kv_hot_bytes", kMiB),
                         Field(row, "digest_bytes", kMiB),
                         Field(row, "kv_step_bytes", kMiB),
                         Field(row, "recalls_per_step_mean"),
                         Field(row, "audit_recall"),
                         Field(row, "step_ms_median"),
                         Field(row, "estimate_select_share", 100) + " %"});
  }
  const Json& dense = summary["cells"][kDenseCell];
  text += "\nfloor " + Short(summary["kl_floor"].get<double>()) +
          " nats (dense against dense, attention cut into other partials); dense ppl " + Field(dense, "ppl_dense") +
          "; " + Field(dense, "windows") + " windows, " + Field(dense, "steps") + " steps\n";
  if (summary["floor_errors"] != 0) text += Field(summary, "floor_errors") + " runs of the floor ended with an error\n";
  for (const Json& row : summary["cells"]) {
    if (row["errors"] != 0) {
      text += Field(row, "errors") + " windows of " + PolicyName(row) + " " + Field(row, "budget_tokens") + " " +
              SummaryName(row) + " ended with an error: see the records\n";
    }
  }
  return text + VersusTable(summary);
}

}  // namespace arkvale::tools
