#include "tools/eval/longbench_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "tools/eval/cell_records.h"
#include "tools/eval/statistics.h"
#include "tools/eval/unicode_text.h"

namespace arkvale::tools {
namespace {

constexpr double kPercent = 100;
constexpr std::array<const char*, kLengthBuckets> kBucketNames = {"0-4k", "4-8k", "8k+"};

double Score(const Json& record) { return kPercent * record["score"].get<double>(); }

// Equal ids at the start of both.
int64_t CommonPrefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// What says how far an answer is from the dense run's.
Json Fidelity(const LongBenchRecordId& id, const std::string& pred, const Answer& answer, const Json& dense) {
  if (!dense.is_object() || !dense["error"].is_null()) {
    return {{"agree", nullptr}, {"same_answer", nullptr}, {"same_prefix_tokens", nullptr}};
  }
  if (!answer.error.empty()) return {{"agree", 0}, {"same_answer", false}, {"same_prefix_tokens", 0}};
  const auto dense_ids = dense["token_ids"].get<std::vector<int32_t>>();
  return {{"agree", Agreement(*id.set, pred, dense["pred"].get<std::string>(), id.record->classes)},
          {"same_answer", answer.ids == dense_ids},
          {"same_prefix_tokens", CommonPrefix(answer.ids, dense_ids)}};
}

// Means of the buckets that hold a record.
Json Buckets(const std::vector<std::vector<double>>& scores) {
  Json buckets;
  for (int32_t b = 0; b < kLengthBuckets; ++b) {
    buckets[kBucketNames[b]] = scores[b].empty() ? Json(nullptr) : Json(Mean(scores[b]));
  }
  return buckets;
}

// `ids`: the set's records in the order of its file, which the bootstrap goes by.
Json CellRow(Json row, const std::vector<std::string>& ids, const RecordsById& records, const RecordsById& dense) {
  std::vector<double> scores, dense_scores;
  std::vector<std::vector<double>> buckets(kLengthBuckets);
  int64_t n_errors = 0, n_truncated = 0;
  for (const std::string& id : ids) {
    const Json& record = *records.at(id);
    scores.push_back(Score(record));
    dense_scores.push_back(Score(*dense.at(id)));
    buckets[LengthBucket(record["length_words"].get<int64_t>())].push_back(scores.back());
    n_errors += record["error"].is_null() ? 0 : 1;
    n_truncated += record["truncated"].get<bool>() ? 1 : 0;
  }
  row.update(PairedScores(scores, dense_scores));
  row.update({{"agree", MeanOf(records, "agree")},
              {"same_answer", MeanOf(records, "same_answer")},
              {"buckets", Buckets(buckets)}});
  for (const char* field : {"same_prefix_tokens", "kv_hot_bytes", "kv_total_bytes", "digest_bytes", "kv_step_bytes",
                            "hot_tokens_per_layer_mean", "recalls_per_step_mean", "audit_recall", "tokens_context",
                            "tokens_question", "tokens_generated"}) {
    row[field] = MeanOf(records, field);
  }
  row["truncated"] = n_truncated;
  row["errors"] = n_errors;
  return row;
}

// A cell's unweighted means over its rows, one a set.
Json MeanRow(Json row, const std::vector<const Json*>& sets) {
  row["sets"] = sets.size();
  for (const auto& [name, from] : {std::pair{"mean_score", "score"},
                                   {"mean_score_dense", "score_dense"},
                                   {"mean_agree", "agree"},
                                   {"mean_same_answer", "same_answer"}}) {
    std::vector<double> values;
    for (const Json* set : sets) {
      if ((*set)[from].is_number()) values.push_back((*set)[from].get<double>());
    }
    row[name] = values.empty() ? Json(nullptr) : Json(Mean(values));
  }
  return row;
}

std::string TwoDecimals(const Json& value) {
  if (!value.is_number()) return "-";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.2f", value.get<double>());
  return text.data();
}

std::string WithBounds(const Json& row, const std::string& name) {
  return TwoDecimals(row[name]) + " [" + TwoDecimals(row[name + "_lo"]) + ", " + TwoDecimals(row[name + "_hi"]) + "]";
}

std::vector<std::string> CellNames(const Json& row) {
  return {PolicyName(row), Number(row, "budget_tokens"), Number(row, "page_tokens"), SummaryName(row)};
}

std::string Row(std::vector<std::string> begin, const Json& row, const std::vector<std::string>& end) {
  const auto names = CellNames(row);
  begin.insert(begin.end(), names.begin(), names.end());
  begin.insert(begin.end(), end.begin(), end.end());
  return MarkdownRow(begin);
}

}  // namespace

Json LongBenchLabels(const RunInfo& run, const LongBenchRecordId& id, const KvOptions& options) {
  Json json = CellFields(run, options);
  json["max_new_tokens"] = id.set->max_new;
  json["seed"] = nullptr;
  json["record_id"] = std::string(id.set->name) + "/" + std::to_string(id.index) + "/" + id.record->id + "/" +
                      std::to_string(id.max_prompt) + (id.chat ? "/chat" : "/plain");
  return json;
}

Json LongBenchResult(const LongBenchRecordId& id, bool truncated, const Answer& answer, const Json& dense) {
  const bool failed = !answer.error.empty();
  const std::string pred = ValidUtf8(answer.text);
  BestScore best;
  if (!failed) best = ScorePrediction(*id.set, pred, id.record->answers, id.record->classes);
  Json json = {{"set", id.set->name},
               {"max_prompt_tokens", id.max_prompt},
               {"chat", id.chat},
               {"length_words", id.record->length_words},
               {"truncated", truncated},
               {"pred", pred},
               {"token_ids", answer.ids},
               {"score", best.score},
               {"best_answer", failed ? Json(nullptr) : Json(best.answer)}};
  json.update(Fidelity(id, pred, answer, dense));
  return json;
}

Json LongBenchSummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records) {
  Json rows = Json::array();
  for (const LongBenchSet& set : LongBenchSets()) {
    std::vector<const Json*> of_set;
    std::vector<std::string> ids;
    for (const Json& record : records) {
      if (record["set"] != set.name) continue;
      of_set.push_back(&record);
      if (record["policy"] == "full") ids.push_back(record["record_id"].get<std::string>());
    }
    if (of_set.empty()) continue;
    const auto by_cell = SortByCell(run, cells, of_set);
    for (size_t c = 0; c < cells.size(); ++c) {
      Json row = CellFields(run, cells[c]);
      row["set"] = set.name;
      rows.push_back(CellRow(std::move(row), ids, by_cell[c], by_cell[0]));
    }
  }
  Json means = Json::array();
  for (size_t c = 0; c < cells.size(); ++c) {
    std::vector<const Json*> of_cell;
    for (size_t r = c; r < rows.size(); r += cells.size()) of_cell.push_back(&rows[r]);
    means.push_back(MeanRow(CellFields(run, cells[c]), of_cell));
  }
  Json summary = CellSummary(run, rows);
  summary["means"] = means;
  return summary;
}

std::string LongBenchTable(const Json& summary) {
  std::string text =
      "LongBench scores in % [95 % interval]; difference: to full attention, paired by record; agree: the same metric "
      "with full attention's answer as the only right one\n" +
      FeedingSentence(summary) + "\n\n" +
      MarkdownHead({"set", "policy", "budget", "page", "digest", "score", "full", "difference", "agree", "same answers",
                    "same first tokens", "hot tokens/layer", "hot MiB", "digest MiB", "records", "cut", "errors"});
  constexpr double kMiB = 1.0 / (1 << 20);
  for (const Json& row : summary["cells"]) {
    text +=
        Row({Name(row, "set")}, row,
            {WithBounds(row, "score"), TwoDecimals(row["score_dense"]), WithBounds(row, "diff"), Number(row, "agree"),
             Number(row, "same_answer"), Number(row, "same_prefix_tokens"), Number(row, "hot_tokens_per_layer_mean"),
             Number(row, "kv_hot_bytes", kMiB), Number(row, "digest_bytes", kMiB), Number(row, "records"),
             Number(row, "truncated"), Number(row, "errors")});
  }
  text += "\nUnweighted means over the sets\n\n" +
          MarkdownHead({"sets", "policy", "budget", "page", "digest", "score", "full", "agree", "same answers"});
  for (const Json& row : summary["means"]) {
    text += Row({Number(row, "sets")}, row,
                {TwoDecimals(row["mean_score"]), TwoDecimals(row["mean_score_dense"]), Number(row, "mean_agree"),
                 Number(row, "mean_same_answer")});
  }
  return text;
}

}  // namespace arkvale::tools
