#include "tools/eval/quality_summary.h"

#include <algorithm>
#include <utility>

#include "tools/eval/records.h"

namespace arkvale::tools {
namespace {

Json FieldOrNull(const Json& json, const std::string& name) {
  const auto found = json.find(name);
  return found == json.end() ? Json(nullptr) : *found;
}

class SumsSummary : public QualitySummary {
 public:
  SumsSummary(std::vector<std::string> labels, Json (*measures)(const Json& sums)) : measures_(measures) {
    const Json of_cell = CellFields({}, {});
    for (const auto& [name, value] : of_cell.items()) labels_.push_back(name);
    labels_.insert(labels_.end(), labels.begin(), labels.end());
  }

  void Add(std::span<const Json> lines) override {
    for (const Json& line : lines) {
      Json labels;
      for (const std::string& name : labels_) labels[name] = FieldOrNull(line, name);
      const auto same = [&](const Row& row) { return row.labels == labels; };
      auto row = std::find_if(rows_.begin(), rows_.end(), same);
      if (row == rows_.end()) row = rows_.insert(row, Row{std::move(labels), Json::object()});
      AddSums(FieldOrNull(line, "sums"), row->sums);
    }
  }

  std::vector<Json> Rows() const override {
    std::vector<Json> rows;
    for (const Row& row : rows_) rows.emplace_back(row.labels).update(measures_(row.sums));
    return rows;
  }

 private:
  struct Row {
    Json labels, sums;
  };

  std::vector<std::string> labels_;
  Json (*const measures_)(const Json& sums);
  std::vector<Row> rows_;
};

}  // namespace

void AddSums(const Json& more, Json& sums) {
  if (more.is_object() && sums.is_object()) {
    for (const auto& [name, value] : more.items()) {
      const auto at = sums.find(name);
      if (at == sums.end()) {
        sums[name] = value;
      } else {
        AddSums(value, *at);
      }
    }
  } else if (more.is_number_integer() && sums.is_number_integer()) {
    sums = sums.get<int64_t>() + more.get<int64_t>();
  } else if (more.is_number() && sums.is_number()) {
    sums = sums.get<double>() + more.get<double>();
  } else {
    sums = nullptr;
  }
}

Json MeanOfSum(const Json& sum, const Json& count) {
  if (!sum.is_number() || !count.is_number() || count.get<double>() <= 0) return nullptr;
  return sum.get<double>() / count.get<double>();
}

std::unique_ptr<QualitySummary> MakeSumsSummary(std::vector<std::string> labels, Json (*measures)(const Json& sums)) {
  return std::make_unique<SumsSummary>(std::move(labels), measures);
}

void SetSums(Json sums, Json (*measures)(const Json& sums), Json& line) {
  line.update(measures(sums));
  line["sums"] = std::move(sums);
}

}  // namespace arkvale::tools
