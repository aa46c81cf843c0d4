#include "tools/eval/cell_records.h"

#include "tools/eval/statistics.h"

namespace arkvale::tools {

std::vector<RecordsById> SortByCell(const RunInfo& run, const std::vector<KvOptions>& cells,
                                    const std::vector<const Json*>& records) {
  std::vector<RecordsById> sorted;
  for (const KvOptions& cell : cells) {
    const Json labels = CellFields(run, cell);
    RecordsById& of_cell = sorted.emplace_back();
    for (const Json* record : records) {
      bool same = true;
      for (const auto& [name, value] : labels.items()) same = same && record->value(name, Json()) == value;
      if (same) of_cell[(*record)["record_id"].get<std::string>()] = record;
    }
  }
  return sorted;
}

Json MeanOf(const RecordsById& records, const char* field) {
  std::vector<double> values;
  for (const auto& [id, record] : records) {
    const auto found = record->find(field);
    if (found == record->end()) continue;
    if (found->is_number()) values.push_back(found->get<double>());
    if (found->is_boolean()) values.push_back(found->get<bool>() ? 1 : 0);
  }
  return values.empty() ? Json(nullptr) : Json(Mean(values));
}

Json PairedScores(std::span<const double> scores, std::span<const double> dense_scores) {
  std::vector<double> diffs(scores.size());
  for (size_t i = 0; i < diffs.size(); ++i) diffs[i] = scores[i] - dense_scores[i];
  const Interval interval = BootstrapMean(scores), paired = BootstrapMean(diffs);
  return {{"records", scores.size()},
          {"score", Mean(scores)},
          {"score_lo", interval.lo},
          {"score_hi", interval.hi},
          {"score_dense", Mean(dense_scores)},
          {"diff", Mean(diffs)},
          {"diff_lo", paired.lo},
          {"diff_hi", paired.hi}};
}

Json CellSummary(const RunInfo& run, const Json& rows) {
  return {{"schema", "arkvale.eval/1"},
          {"task", run.task},
          {"model", run.model},
          {"model_sha256_prefix", run.model_sha256_prefix},
          {"feed", FeedingName(run.feeding)},
          {"cells", rows},
          {"machine", MachineJson(run.threads)}};
}

std::string MarkdownRow(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string MarkdownHead(const std::vector<std::string>& names) {
  return MarkdownRow(names) + MarkdownRow(std::vector<std::string>(names.size(), "---"));
}

std::string FeedingSentence(const Json& summary) {
  return summary["feed"] == FeedingName(Feeding::kJoint)
             ? "Feed joint: the question is prefilled with the context, so every policy has seen it when it evicts"
             : "Feed 3stage: the question comes step by step after the prefill, when every policy has evicted already";
}

std::string Number(const Json& row, const char* name, double factor) {
  return row[name].is_number() ? Short(row[name].get<double>() * factor) : "-";
}

std::string Name(const Json& row, const char* name) {
  return row[name].is_string() ? row[name].get<std::string>() : "-";
}

std::string PolicyName(const Json& row) {
  const std::string plan = row.contains("plan") ? Name(row, "plan") : "-";
  return plan == "-" ? Name(row, "policy") : Name(row, "policy") + ", " + plan;
}

std::string SummaryName(const Json& row) {
  const std::string zone = row.contains("zone") ? Name(row, "zone") : "-";
  return zone == "-" ? Name(row, "digest") : Name(row, "digest") + ", zone " + zone;
}

}  // namespace arkvale::tools
