// eval sparsity and eval dynamics: how few pages hold a layer's attention, and how their ranks move (algorithms 6.2,
// 6.3). Both judge a page by the largest share of a token.
#include <algorithm>
#include <map>
#include <utility>

#include "kv/select.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/page_metrics.h"
#include "tools/eval/quality_study.h"

namespace arkvale::tools {
namespace {

constexpr double kShares[] = {0.90, 0.99};

// Fields of records of full attention that is looked at in pages.
Json DenseFields(const StudyInput& in, Json json) {
  json["policy"] = KvPolicyName(KvPolicyKind::kFull);
  json["page_tokens"] = in.page_tokens();
  for (const char* name : {"budget_tokens", "digest", "topk_pages", "kv_group", "sink_pages", "window_pages",
                           "dense_layers", "kv_opt", "audit_every"}) {
    json[name] = nullptr;
  }
  return json;
}

Json PerStep(const Json& sums) {
  const Json& steps = sums["steps"];
  Json json;
  for (const auto& [measure, sum] : {std::pair{"pages_mean", "pages"},
                                     {"n90_pages", "n90_pages"},
                                     {"n99_pages", "n99_pages"},
                                     {"sparsity90", "sparsity90"},
                                     {"sparsity99", "sparsity99"}}) {
    json[measure] = MeanOfSum(sums[sum], steps);
  }
  return json;
}

class SparsityStudy : public QualityStudy {
 public:
  explicit SparsityStudy(StudyInput input) : in_(std::move(input)) {}

  ProbeNeeds Needs() const override { return {.page_tokens = in_.page_tokens(), .token_mass = true, .digests = {}}; }
  void Add(const LayerSight& sight) override;
  std::vector<Json> EndRecord(const QualityRecord& record) override;

 private:
  struct Sums {
    int64_t steps = 0, pages = 0, needed[2] = {0, 0};
    double bottom[2] = {0, 0};

    Json ToJson() const {
      return {{"steps", steps},         {"pages", pages},          {"n90_pages", needed[0]},
              {"n99_pages", needed[1]}, {"sparsity90", bottom[0]}, {"sparsity99", bottom[1]}};
    }
  };

  const StudyInput in_;
  std::map<int32_t, Sums> record_;  // by layer
};

void SparsityStudy::Add(const LayerSight& sight) {
  if (sight.prefill_end) return;
  const PageMass pages = SumPages(sight.token_mass, in_.page_tokens());
  Sums& sums = record_[sight.layer];
  ++sums.steps;
  sums.pages += sight.n_pages;
  for (int i = 0; i < 2; ++i) {
    const int32_t needed = PagesForMass(pages, kShares[i]);
    sums.needed[i] += needed;
    sums.bottom[i] += 1 - static_cast<double>(needed) / sight.n_pages;
  }
}

std::vector<Json> SparsityStudy::EndRecord(const QualityRecord& record) {
  std::vector<Json> lines;
  for (const auto& [layer, sums] : record_) {
    Json& line = lines.emplace_back(DenseFields(in_, QualityFields(in_.run, in_.cells.front(), record)));
    line["layer"] = layer;
    SetSums(sums.ToJson(), PerStep, line);
  }
  record_.clear();
  return lines;
}

class DynamicsStudy : public QualityStudy {
 public:
  explicit DynamicsStudy(StudyInput input) : in_(std::move(input)) {
    // The top-k and the budget that are asked of; by default those of the paper's rule at the first cell's budget.
    const KvOptions& options = in_.cells.front();
    budget_pages_ = static_cast<int32_t>(options.budget_tokens / options.page_tokens);
    topk_ = static_cast<int32_t>(PaperTopk(options.budget_tokens, options.page_tokens));
    if (!in_.options.capacities.empty()) budget_pages_ = static_cast<int32_t>(in_.options.capacities.front());
    if (!in_.options.topks.empty()) topk_ = static_cast<int32_t>(in_.options.topks.front());
    topk_ = std::max(topk_, 1);
  }

  ProbeNeeds Needs() const override { return {.page_tokens = in_.page_tokens(), .token_mass = true, .digests = {}}; }
  void Add(const LayerSight& sight) override;
  std::vector<Json> EndRecord(const QualityRecord& record) override;

 private:
  struct LayerHistory {
    std::vector<std::vector<int32_t>> ranks;  // by step, then page
    std::vector<std::vector<double>> mass;
  };
  std::vector<int64_t> ShownPages(const LayerHistory& history) const;

  const StudyInput in_;
  int32_t topk_ = 0, budget_pages_ = 0;
  std::map<int32_t, LayerHistory> record_;
};

void DynamicsStudy::Add(const LayerSight& sight) {
  if (sight.prefill_end) return;
  PageMass pages = SumPages(sight.token_mass, in_.page_tokens());
  LayerHistory& history = record_[sight.layer];
  history.ranks.push_back(PageRanks(pages.key));
  history.mass.push_back(std::move(pages.mass));
}

// Page 0 and the six whose ranks span the widest range, of those that were there from the first step.
std::vector<int64_t> DynamicsStudy::ShownPages(const LayerHistory& history) const {
  const std::vector<int64_t>& asked = in_.options.page_ids;
  if (!asked.empty()) return asked;
  constexpr size_t kWidest = 6;
  std::vector<float> range(history.ranks.front().size());
  for (size_t page = 0; page < range.size(); ++page) {
    int32_t lo = history.ranks.front()[page], hi = lo;
    for (const auto& ranks : history.ranks) {
      lo = std::min(lo, ranks[page]);
      hi = std::max(hi, ranks[page]);
    }
    range[page] = static_cast<float>(hi - lo);
  }
  std::vector<int64_t> shown = {0};
  for (const int32_t page : RankPages(range)) {
    if (shown.size() > kWidest) break;
    if (page != 0) shown.push_back(page);
  }
  std::sort(shown.begin(), shown.end());
  return shown;
}

std::vector<Json> DynamicsStudy::EndRecord(const QualityRecord& record) {
  std::vector<Json> lines;
  for (const auto& [layer, history] : record_) {
    Json fields = DenseFields(in_, QualityFields(in_.run, in_.cells.front(), record));
    fields["layer"] = layer;
    const Dynamics d = MeasureDynamics(history.ranks, topk_, budget_pages_);
    const bool revivable = std::ssize(history.ranks) > kRevivalSteps;
    const Json of_layer = {{"topk_pages", topk_},
                           {"capacity_pages", budget_pages_},
                           {"churn", history.ranks.size() > 1 ? Json(d.churn) : Json(nullptr)},
                           {"revival", revivable ? Json(d.revival) : Json(nullptr)}};
    for (const int64_t page : ShownPages(history)) {
      for (size_t step = 0; step < history.ranks.size(); ++step) {
        if (page >= std::ssize(history.ranks[step])) continue;
        Json& line = lines.emplace_back(fields);
        line.update({{"step", step}, {"page", page}});
        line["rank"] = history.ranks[step][page];
        line["mass"] = history.mass[step][page];
        line["dynamics"] = of_layer;
      }
    }
  }
  record_.clear();
  return lines;
}

// A row for each layer of each record, in whose lines a page's steps follow one another; all of a page size together.
class DynamicsSummary : public QualitySummary {
 public:
  void Add(std::span<const Json> lines) override;
  std::vector<Json> Rows() const override {
    std::vector<Json> rows = rows_;
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Json& a, const Json& b) { return a["page_tokens"] < b["page_tokens"]; });
    return rows;
  }

 private:
  std::vector<Json> rows_;
};

void DynamicsSummary::Add(std::span<const Json> lines) {
  const Json* before = nullptr;
  for (const Json& line : lines) {
    if (before == nullptr || (*before)["layer"] != line["layer"] || (*before)["page_tokens"] != line["page_tokens"]) {
      Json& row = rows_.emplace_back(line);
      for (const char* name : {"step", "page", "rank", "mass", "dynamics", "work_sha256_prefix", "line", "lines"}) {
        row.erase(name);
      }
      row.update(line["dynamics"]);
      row["pages"] = Json::array();
    }
    before = &line;
    Json& pages = rows_.back()["pages"];
    const Json& rank = line["rank"];
    if (pages.empty() || pages.back()["page"] != line["page"]) {
      pages.push_back({{"page", line["page"]}, {"rank_first", rank}, {"rank_min", rank}, {"rank_max", rank}});
    }
    Json& page = pages.back();
    page["rank_min"] = std::min(page["rank_min"], rank);
    page["rank_max"] = std::max(page["rank_max"], rank);
    page["rank_last"] = rank;
  }
}

}  // namespace

std::unique_ptr<QualityStudy> MakeSparsityStudy(StudyInput input) {
  return std::make_unique<SparsityStudy>(std::move(input));
}

std::unique_ptr<QualityStudy> MakeDynamicsStudy(StudyInput input) {
  return std::make_unique<DynamicsStudy>(std::move(input));
}

std::unique_ptr<QualitySummary> MakeSparsitySummary() { return MakeSumsSummary({"layer"}, PerStep); }

std::unique_ptr<QualitySummary> MakeDynamicsSummary() { return std::make_unique<DynamicsSummary>(); }

std::string SparsityTable(const Json& summary) {
  std::string text =
      "Pages that hold 90 % and 99 % of a layer's attention (mean over query heads), and the share of pages that hold "
      "the rest\n\n";
  const std::vector<std::string> head = {"page", "layer", "pages", "N 90", "N 99", "rest at 90 %", "rest at 99 %"};
  text += MarkdownHead(head);
  for (const Json& row : summary["cells"]) {
    text += MarkdownRow({Number(row, "page_tokens"), Number(row, "layer"), Number(row, "pages_mean"),
                         Number(row, "n90_pages"), Number(row, "n99_pages"), Number(row, "sparsity90"),
                         Number(row, "sparsity99")});
  }
  return text;
}

std::string DynamicsTable(const Json& summary) {
  std::string text =
      "Ranks of pages (0 = best) over the steps. Churn: share of the best k that were not there a step before; "
      "revival: "
      "pages a step among the best k that were beyond the capacity for 16 steps\n\n";
  const std::vector<std::string> head = {"record",
                                         "layer",
                                         "k",
                                         "capacity",
                                         "churn",
                                         "revival",
                                         "page: first, "
                                         "least, largest, last rank"};
  text += MarkdownHead(head);
  for (const Json& row : summary["cells"]) {
    std::string pages;
    for (const Json& page : row["pages"]) {
      pages += (pages.empty() ? "" : "; ") + Number(page, "page") + ": " + Number(page, "rank_first") + ", " +
               Number(page, "rank_min") + ", " + Number(page, "rank_max") + ", " + Number(page, "rank_last");
    }
    text += MarkdownRow({row["record_id"].get<std::string>(), Number(row, "layer"), Number(row, "topk_pages"),
                         Number(row, "capacity_pages"), Number(row, "churn"), Number(row, "revival"), pages});
  }
  return text;
}

}  // namespace arkvale::tools
