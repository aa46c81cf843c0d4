#include "tools/eval/passkey_report.h"

#include <map>
#include <set>

#include "tools/eval/cell_records.h"
#include "tools/eval/statistics.h"

namespace arkvale::tools {
namespace {

// A length where dense attention finds fewer says nothing about a policy.
constexpr double kMinDenseAccuracy = 0.95;

bool Correct(const Json& record) { return record["correct"].get<bool>(); }

struct Counts {
  int64_t n = 0, correct = 0, strict = 0, with_strict = 0, errors = 0;
  int64_t dense_correct = 0, kept = 0, dense_wrong = 0, gained = 0;
};

Counts Count(const RecordsById& records, const RecordsById& dense) {
  Counts c;
  for (const auto& [id, record] : records) {
    const bool correct = Correct(*record), dense_correct = Correct(*dense.at(id));
    ++c.n;
    c.correct += correct ? 1 : 0;
    if ((*record)["strict"].is_boolean()) {
      ++c.with_strict;
      c.strict += (*record)["strict"].get<bool>() ? 1 : 0;
    }
    c.errors += (*record)["error"].is_null() ? 0 : 1;
    c.dense_correct += dense_correct ? 1 : 0;
    c.kept += dense_correct && correct ? 1 : 0;
    c.dense_wrong += dense_correct ? 0 : 1;
    c.gained += !dense_correct && correct ? 1 : 0;
  }
  return c;
}

Json Share(int64_t part, int64_t whole) {
  return whole == 0 ? Json(nullptr) : Json(static_cast<double>(part) / static_cast<double>(whole));
}

Json CellRow(Json labels, int64_t length_tokens, const RecordsById& records, const RecordsById& dense) {
  const Counts c = Count(records, dense);
  const Interval wilson = Wilson(c.correct, c.n);
  labels.update({{"length_tokens", length_tokens},
                 {"records", c.n},
                 {"accuracy", Share(c.correct, c.n)},
                 {"wilson_lo", wilson.lo},
                 {"wilson_hi", wilson.hi},
                 {"strict", Share(c.strict, c.with_strict)},
                 {"kept", Share(c.kept, c.dense_correct)},
                 {"gained", c.gained},
                 {"dense_accuracy", Share(c.dense_correct, c.n)},
                 {"counts", static_cast<double>(c.dense_correct) >= kMinDenseAccuracy * static_cast<double>(c.n)}});
  for (const char* field :
       {"kv_hot_bytes", "kv_total_bytes", "digest_bytes", "kv_step_bytes", "hot_tokens_per_layer_mean",
        "recalls_per_step_mean", "audit_recall", "tokens_context", "filler_chars"}) {
    labels[field] = MeanOf(records, field);
  }
  labels["errors"] = c.errors;
  return labels;
}

}  // namespace

Json PasskeyLabels(const RunInfo& run, const PasskeyRecord& record, const KvOptions& options, int32_t max_new) {
  Json json = CellFields(run, options);
  json["max_new_tokens"] = max_new;
  json["seed"] = record.seed;
  json["record_id"] = std::to_string(record.seed) + "/" + std::to_string(record.length_tokens) + "/" +
                      std::to_string(record.index) + "/" + std::to_string(record.filler_chars);
  return json;
}

Json PasskeyResult(const PasskeyRecord& record, const Answer& answer) {
  const bool failed = !answer.error.empty();
  const bool strict = !failed && PasskeyStrict(answer.ids, record.answer);
  return {{"length_tokens", record.length_tokens},
          {"depth", record.depth()},
          {"filler_chars", record.filler_chars},
          {"key", record.key},
          {"text", answer.text},
          {"correct", !failed && PasskeyCorrect(answer.text, record.key)},
          {"strict", record.answer.empty() ? Json(nullptr) : Json(strict)}};
}

Json PasskeySummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records) {
  std::map<int64_t, std::vector<const Json*>> by_length;
  for (const Json& record : records) by_length[record["length_tokens"].get<int64_t>()].push_back(&record);
  Json rows = Json::array();
  for (const auto& [length, of_length] : by_length) {
    const auto by_cell = SortByCell(run, cells, of_length);
    for (size_t c = 0; c < cells.size(); ++c) {
      rows.push_back(CellRow(CellFields(run, cells[c]), length, by_cell[c], by_cell[0]));
    }
  }
  return CellSummary(run, rows);
}

std::string PasskeyTable(const Json& summary) {
  std::string text =
      "Share of passkeys found [95 % interval]; kept: of those full attention finds, gained: beyond them\n" +
      FeedingSentence(summary) + "\n\n" +
      MarkdownHead({"length", "policy", "budget", "page", "digest", "correct", "strict", "kept", "gained",
                    "hot tokens/layer", "hot MiB", "digest MiB", "errors"});
  constexpr double kMiB = 1.0 / (1 << 20);
  std::set<int64_t> discounted;
  for (const Json& row : summary["cells"]) {
    text += MarkdownRow(
        {Number(row, "length_tokens"), PolicyName(row), Number(row, "budget_tokens"), Number(row, "page_tokens"),
         SummaryName(row),
         WithInterval(row["accuracy"].get<double>(), row["wilson_lo"].get<double>(), row["wilson_hi"].get<double>()),
         Number(row, "strict"), Number(row, "kept"), Number(row, "gained"), Number(row, "hot_tokens_per_layer_mean"),
         Number(row, "kv_hot_bytes", kMiB), Number(row, "digest_bytes", kMiB), Number(row, "errors")});
    if (!row["counts"].get<bool>()) discounted.insert(row["length_tokens"].get<int64_t>());
  }
  for (const int64_t length : discounted) {
    text += "\nlength " + std::to_string(length) +
            " says nothing about a policy: full attention finds fewer than 95 % there\n";
  }
  return text;
}

}  // namespace arkvale::tools
