#include "tools/eval/perplexity_report.h"

#include <cmath>
#include <map>
#include <utility>

#include "tools/eval/cell_records.h"
#include "tools/eval/statistics.h"

namespace arkvale::tools {
namespace {

// exp of a mean and of its interval, named `name`, `name`_lo, `name`_hi.
Json ExpOfMean(const std::string& name, const std::vector<double>& values) {
  if (values.empty()) return {{name, nullptr}, {name + "_lo", nullptr}, {name + "_hi", nullptr}};
  const Interval interval = BootstrapMean(values);
  return {{name, std::exp(Mean(values))}, {name + "_lo", std::exp(interval.lo)}, {name + "_hi", std::exp(interval.hi)}};
}

Json CellRow(Json row, const RecordsById& records, const RecordsById& dense) {
  std::vector<double> nll, diff;
  int64_t n_errors = 0;
  for (const auto& [id, record] : records) {
    const Json& own = (*record)["nll_mean_nats"];
    const Json& reference = (*dense.at(id))["nll_mean_nats"];
    n_errors += (*record)["error"].is_null() ? 0 : 1;
    if (!own.is_number() || !reference.is_number()) continue;
    nll.push_back(own.get<double>());
    diff.push_back(own.get<double>() - reference.get<double>());
  }
  row["records"] = records.size();
  row.update(ExpOfMean("ppl", nll));
  row.update(ExpOfMean("ppl_ratio", diff));
  for (const char* field : {"kv_hot_bytes", "kv_total_bytes", "digest_bytes", "kv_step_bytes",
                            "hot_tokens_per_layer_mean", "recalls_per_step_mean", "audit_recall"}) {
    row[field] = MeanOf(records, field);
  }
  row["errors"] = n_errors;
  return row;
}

std::string IntervalOf(const Json& row, const std::string& name) {
  if (!row[name].is_number()) return "-";
  return WithInterval(row[name].get<double>(), row[name + "_lo"].get<double>(), row[name + "_hi"].get<double>());
}

}  // namespace

Json PerplexityLabels(const RunInfo& run, const PerplexityChunk& chunk, const KvOptions& options) {
  Json json = CellFields(run, options);
  json["seed"] = nullptr;  // nothing is drawn
  json["record_id"] = chunk.text + "/" + chunk.text_sha256_prefix + "/" + std::to_string(chunk.chunk_tokens) + "/" +
                      std::to_string(chunk.chunk);
  return json;
}

Json PerplexityPlace(const PerplexityChunk& chunk) {
  return {{"text", chunk.text},
          {"chunk", chunk.chunk},
          {"chunk_tokens", chunk.chunk_tokens},
          {"start_token", chunk.start_token()},
          {"steps", chunk.n_steps()},
          {"nll_mean_nats", nullptr},
          {"ppl", nullptr}};
}

Json PerplexityResult(const std::vector<double>& nll) {
  const double mean = Mean(nll);
  return {{"nll_mean_nats", mean}, {"ppl", std::exp(mean)}};
}

Json PerplexitySummaryJson(const RunInfo& run, const std::vector<KvOptions>& cells, const std::vector<Json>& records) {
  std::map<std::string, std::vector<const Json*>> by_text;
  for (const Json& record : records) by_text[record["text"].get<std::string>()].push_back(&record);
  Json rows = Json::array();
  for (const auto& [text, of_text] : by_text) {
    const auto by_cell = SortByCell(run, cells, of_text);
    for (size_t c = 0; c < cells.size(); ++c) {
      Json row = CellFields(run, cells[c]);
      row["text"] = text;
      row["chunk_tokens"] = of_text.front()->at("chunk_tokens");
      rows.push_back(CellRow(std::move(row), by_cell[c], by_cell[0]));
    }
  }
  return CellSummary(run, rows);
}

std::string PerplexityTable(const Json& summary) {
  std::string text =
      "Perplexity of the second half of each chunk, fed step by step [95 % interval over chunks]; ratio: to full "
      "attention. It is mostly local and hides what a policy loses far back: see `eval fidelity` and `eval ruler`\n\n" +
      MarkdownHead({"text", "chunk", "policy", "budget", "page", "digest", "ppl", "ratio", "hot tokens/layer",
                    "hot MiB", "digest MiB", "chunks", "errors"});
  constexpr double kMiB = 1.0 / (1 << 20);
  for (const Json& row : summary["cells"]) {
    text +=
        MarkdownRow({Name(row, "text"), Number(row, "chunk_tokens"), PolicyName(row), Number(row, "budget_tokens"),
                     Number(row, "page_tokens"), SummaryName(row), IntervalOf(row, "ppl"), IntervalOf(row, "ppl_ratio"),
                     Number(row, "hot_tokens_per_layer_mean"), Number(row, "kv_hot_bytes", kMiB),
                     Number(row, "digest_bytes", kMiB), Number(row, "records"), Number(row, "errors")});
  }
  return text;
}

}  // namespace arkvale::tools
