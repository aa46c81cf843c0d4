#include "tools/eval/ruler_report.h"

#include <map>
#include <set>
#include <utility>

#include "tools/eval/cell_records.h"
#include "tools/eval/statistics.h"

namespace arkvale::tools {
namespace {

constexpr double kPercent = 100;
// Below it a task is beyond the model and says nothing about a policy.
constexpr double kMinDenseScore = 50;

double Score(const Json& record) { return kPercent * record["score"].get<double>(); }

Json CellRow(Json row, const RecordsById& records, const RecordsById& dense) {
  std::vector<double> scores, dense_scores;
  int64_t n_errors = 0;
  for (const auto& [id, record] : records) {
    scores.push_back(Score(*record));
    dense_scores.push_back(Score(*dense.at(id)));
    n_errors += (*record)["error"].is_null() ? 0 : 1;
  }
  row.update(PairedScores(scores, dense_scores));
  row.update({{"counts", Mean(dense_scores) >= kMinDenseScore}});
  for (const char* field :
       {"kv_hot_bytes", "kv_total_bytes", "digest_bytes", "kv_step_bytes", "hot_tokens_per_layer_mean",
        "recalls_per_step_mean", "audit_recall", "tokens_context", "haystack_size"}) {
    row[field] = MeanOf(records, field);
  }
  row["errors"] = n_errors;
  return row;
}

// Where a task stands in the protocol's list.
size_t TaskIndex(const Json& record) {
  const RulerTask* task = FindRulerTask(record["ruler_task"].get<std::string>());
  return task == nullptr ? RulerTasks().size() : static_cast<size_t>(task - RulerTasks().data());
}

}  // namespace

Json RulerLabels(const RunInfo& run, const RulerRecordId& id, const KvOptions& options) {
  Json json = CellFields(run, options);
  json["max_new_tokens"] = id.task->max_new;
  json["seed"] = id.seed;
  json["record_id"] = std::string(id.task->name) + "/" + std::to_string(id.seed) + "/" +
                      std::to_string(id.length_tokens) + "/" + std::to_string(id.index) +
                      (id.book_sha256_prefix.empty() ? "" : "/" + id.book_sha256_prefix);
  return json;
}

Json RulerResult(const RulerRecordId& id, const RulerText& text, int64_t size, const Answer& answer) {
  const bool failed = !answer.error.empty();
  return {{"ruler_task", id.task->name},
          {"length_tokens", id.length_tokens},
          {"haystack", RulerHaystackName(id.task->haystack)},
          {"haystack_size", size},
          {"refs", text.refs},
          {"pred", answer.text},
          {"score", failed ? 0 : RulerScore(answer.text, text.refs, RulerRule::kAll)}};
}

Json RulerSummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records) {
  std::map<std::pair<int64_t, size_t>, std::vector<const Json*>> groups;
  for (const Json& r : records) groups[{r["length_tokens"].get<int64_t>(), TaskIndex(r)}].push_back(&r);
  Json rows = Json::array();
  for (const auto& [key, group] : groups) {
    const auto by_cell = SortByCell(run, cells, group);
    for (size_t c = 0; c < cells.size(); ++c) {
      Json row = CellFields(run, cells[c]);
      row["ruler_task"] = group.front()->at("ruler_task");
      row["length_tokens"] = key.first;
      rows.push_back(CellRow(std::move(row), by_cell[c], by_cell[0]));
    }
  }
  return CellSummary(run, rows);
}

std::string RulerTable(const Json& summary) {
  std::string text =
      "Share of what was asked for, in % [95 % interval]; difference: to full attention, paired by record\n" +
      FeedingSentence(summary) + "\n\n" +
      MarkdownHead({"length", "task", "policy", "budget", "page", "digest", "score", "full", "difference",
                    "hot tokens/layer", "hot MiB", "digest MiB", "records", "errors"});
  constexpr double kMiB = 1.0 / (1 << 20);
  std::set<std::string> discounted;
  const auto interval = [](const Json& row, const std::string& name) {
    return WithInterval(row[name].get<double>(), row[name + "_lo"].get<double>(), row[name + "_hi"].get<double>());
  };
  for (const Json& row : summary["cells"]) {
    const std::string task = Name(row, "ruler_task");
    text +=
        MarkdownRow({Number(row, "length_tokens"), task, PolicyName(row), Number(row, "budget_tokens"),
                     Number(row, "page_tokens"), SummaryName(row), interval(row, "score"), Number(row, "score_dense"),
                     interval(row, "diff"), Number(row, "hot_tokens_per_layer_mean"), Number(row, "kv_hot_bytes", kMiB),
                     Number(row, "digest_bytes", kMiB), Number(row, "records"), Number(row, "errors")});
    if (!row["counts"].get<bool>()) discounted.insert(task + " at length " + Number(row, "length_tokens"));
  }
  for (const std::string& what : discounted) {
    text += "\n" + what + " says nothing about a policy: full attention scores less than 50 there\n";
  }
  for (const Json& row : summary.value("left_out", Json::array())) {
    (text += '\n') += Name(row, "ruler_task") + " at length " + Number(row, "length_tokens") +
                      " is left out: its smallest record is longer\n";
  }
  return text;
}

}  // namespace arkvale::tools
