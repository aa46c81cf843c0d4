// eval recall: how many of the truly best pages a digest finds, and how much attention lies in what is read
// (algorithms 6.1).
#include <algorithm>
#include <map>
#include <utility>

#include "kv/select.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/page_metrics.h"
#include "tools/eval/quality_study.h"
#include "tools/eval/residency_sim.h"

namespace arkvale::tools {
namespace {

// Which pages are ranked: every filled one, or the candidates alone.
enum PageSet : uint8_t { kAllPages, kCandidates, kPageSets };
constexpr const char* kPageSetNames[] = {"all", "candidates"};

// Where more than this share is found by chance no claim is made.
constexpr double kMostChance = 0.25;

// Sums over (step, layer, group) samples.
struct RecallSums {
  struct AtK {
    double recall = 0, chance = 0;
    int64_t n = 0;
  };
  std::vector<AtK> at_k;  // k - 1
  double mass = 0, oracle = 0;
  int64_t n_mass = 0;

  void AddRanking(std::span<const double> accuracy, int64_t n_pages) {
    if (at_k.size() < accuracy.size()) at_k.resize(accuracy.size());
    for (size_t i = 0; i < accuracy.size(); ++i) {
      at_k[i].recall += accuracy[i];
      at_k[i].chance += static_cast<double>(i + 1) / static_cast<double>(n_pages);
      ++at_k[i].n;
    }
  }
  void Merge(const RecallSums& o) {
    if (at_k.size() < o.at_k.size()) at_k.resize(o.at_k.size());
    for (size_t i = 0; i < o.at_k.size(); ++i) {
      at_k[i].recall += o.at_k[i].recall;
      at_k[i].chance += o.at_k[i].chance;
      at_k[i].n += o.at_k[i].n;
    }
    mass += o.mass;
    oracle += o.oracle;
    n_mass += o.n_mass;
  }
};

void AddFields(const RecallSums& sums, std::span<const int64_t> ks, Json& json) {
  Json recall = Json::object(), chance = Json::object();
  for (const int64_t k : ks) {
    const auto at = static_cast<size_t>(k - 1);
    const bool any = at < sums.at_k.size();
    const double n = any ? static_cast<double>(sums.at_k[at].n) : 0;
    recall[std::to_string(k)] = any ? Json(sums.at_k[at].recall / n) : Json(nullptr);
    chance[std::to_string(k)] = any ? Json(sums.at_k[at].chance / n) : Json(nullptr);
  }
  const auto mean = [&](double sum) {
    return sums.n_mass > 0 ? Json(sum / static_cast<double>(sums.n_mass)) : Json(nullptr);
  };
  json["recall_at"] = recall;
  json["mass_recall"] = mean(sums.mass);
  json["mass_oracle"] = mean(sums.oracle);
  json["chance"] = chance;
}

class RecallStudy : public QualityStudy {
 public:
  explicit RecallStudy(StudyInput input) : in_(std::move(input)), digests_(in_.Digests()) {
    max_k_ = static_cast<int32_t>(*std::max_element(in_.options.ks.begin(), in_.options.ks.end()));
  }

  ProbeNeeds Needs() const override {
    return {.page_tokens = in_.page_tokens(),
            .page_scores = true,
            .digests = digests_,
            .digest_type = in_.cells.front().digest_type};
  }
  void Add(const LayerSight& sight) override;
  std::vector<Json> EndRecord(const QualityRecord& record) override;
  std::vector<Json> SummaryRows() const override;

 private:
  struct Key {  // of a measure
    size_t cell, group;
    PageSet set;
    auto operator<=>(const Key&) const = default;
  };
  using ByLayer = std::map<int32_t, RecallSums>;
  // Of one group of a layer: which pages each cell would read.
  using SimKey = std::array<int32_t, 4>;  // cell, group size, layer, group

  void AddGroup(const LayerSight& sight, size_t digest, size_t size, int32_t group, std::span<const float> truth,
                std::span<const float> estimate, std::span<const double> mass);
  void AddMass(const LayerSight& sight, const ResidencySim& sim, std::span<const double> mass, size_t cell,
               size_t size);
  ResidencySim& Sim(size_t cell, size_t size, int32_t layer, int32_t group);
  Json Row(Json json, const Key& key, const ByLayer& sums, bool layers) const;

  const StudyInput in_;
  const std::vector<DigestKind> digests_;
  int32_t max_k_ = 0;
  std::map<SimKey, ResidencySim> sims_;
  std::map<Key, ByLayer> record_, total_;
};

void RecallStudy::Add(const LayerSight& sight) {
  for (size_t size = 0; size < in_.options.groups.size(); ++size) {
    const int32_t g = in_.options.groups[size];
    const GroupScores truth = TrueGroupScores(sight, g);
    const auto mass = GroupMasses(sight, g);
    for (size_t d = 0; d < digests_.size(); ++d) {
      const GroupScores estimate = EstimatedGroupScores(sight, d, g);
      for (size_t group = 0; group < truth.size(); ++group) {
        AddGroup(sight, d, size, static_cast<int32_t>(group), truth[group], estimate[group], mass[group]);
      }
    }
  }
}

void RecallStudy::AddGroup(const LayerSight& sight, size_t digest, size_t size, int32_t group,
                           std::span<const float> truth, std::span<const float> estimate,
                           std::span<const double> mass) {
  const KvOptions& any = in_.cells.front();
  const int32_t end = std::max(any.sink_pages, sight.n_pages - any.window_pages);
  const std::pair<int32_t, int32_t> ranges[] = {{0, sight.n_filled}, {any.sink_pages, end}};
  std::vector<double> accuracy[kPageSets];
  for (int set = 0; set < kPageSets && !sight.prefill_end; ++set) {
    const auto [first, last] = ranges[set];
    accuracy[set] = RecallAccuracy(RankPages(truth.subspan(first, last - first)),
                                   RankPages(estimate.subspan(first, last - first)), max_k_);
  }
  for (size_t cell = 0; cell < in_.cells.size(); ++cell) {
    if (in_.cells[cell].digest != digests_[digest]) continue;
    ResidencySim& sim = Sim(cell, size, sight.layer, group);
    if (sight.prefill_end) {
      sim.EndPrefill(sight.n_pages, estimate);
      continue;
    }
    sim.Step(sight.n_pages, estimate);
    for (int set = 0; set < kPageSets; ++set) {
      const auto [first, last] = ranges[set];
      record_[{cell, size, static_cast<PageSet>(set)}][sight.layer].AddRanking(accuracy[set], last - first);
    }
    if (sim.over_budget()) AddMass(sight, sim, mass, cell, size);
  }
}

// The pages that a step reads against the best set of as many pages.
void RecallStudy::AddMass(const LayerSight& sight, const ResidencySim& sim, std::span<const double> mass, size_t cell,
                          size_t size) {
  const PageBudget& budget = sim.budget();
  const std::pair<int32_t, int32_t> ranges[] = {{0, sight.n_pages},
                                                {budget.candidates_begin(), budget.candidates_end(sight.n_pages)}};
  for (int set = 0; set < kPageSets; ++set) {
    const auto [first, last] = ranges[set];
    int64_t n_read = 0;
    double read = 0;
    for (int32_t page = first; page < last; ++page) {
      if (!sim.hot(page)) continue;
      ++n_read;
      read += mass[page];
    }
    RecallSums& sums = record_[{cell, size, static_cast<PageSet>(set)}][sight.layer];
    sums.mass += read;
    sums.oracle += LargestSum(mass.subspan(first, last - first), n_read);
    ++sums.n_mass;
  }
}

ResidencySim& RecallStudy::Sim(size_t cell, size_t size, int32_t layer, int32_t group) {
  const SimKey key = {static_cast<int32_t>(cell), static_cast<int32_t>(size), layer, group};
  const auto found = sims_.find(key);
  if (found != sims_.end()) return found->second;
  const KvOptions& options = in_.cells[cell];
  return sims_.try_emplace(key, MakePageBudget(options, layer, /*reads_in_place=*/true), options.window_exit)
      .first->second;
}

Json RecallStudy::Row(Json json, const Key& key, const ByLayer& sums, bool layers) const {
  RecallSums all;
  for (const auto& [layer, at] : sums) all.Merge(at);
  json["kv_group"] = in_.options.groups[key.group];
  json["page_set"] = kPageSetNames[key.set];
  AddFields(all, in_.options.ks, json);
  if (!layers) return json;
  Json rows = Json::array();
  for (const auto& [layer, at] : sums) {
    Json row = {{"layer", layer}};
    AddFields(at, in_.options.ks, row);
    rows.push_back(std::move(row));
  }
  json["layers"] = std::move(rows);
  return json;
}

std::vector<Json> RecallStudy::EndRecord(const QualityRecord& record) {
  std::vector<Json> lines;
  for (const auto& [key, sums] : record_) {
    lines.push_back(Row(QualityFields(in_.run, in_.cells[key.cell], record), key, sums, /*layers=*/false));
    for (const auto& [layer, at] : sums) total_[key][layer].Merge(at);
  }
  record_.clear();
  sims_.clear();
  return lines;
}

std::vector<Json> RecallStudy::SummaryRows() const {
  std::vector<Json> rows;
  for (const auto& [key, sums] : total_) {
    rows.push_back(Row(CellFields(in_.run, in_.cells[key.cell]), key, sums, /*layers=*/true));
  }
  return rows;
}

// The ks of a table: the papers' where all are there.
std::vector<std::string> ShownKs(const Json& recall_at) {
  std::vector<std::string> all, shown;
  for (const auto& [k, value] : recall_at.items()) {
    all.push_back(k);
    for (const char* paper : {"1", "2", "4", "6", "8", "12", "16", "24", "32", "40"}) {
      if (k == paper) shown.push_back(k);
    }
  }
  return all.size() > 10 ? shown : all;
}

std::string PercentCell(const Json& value, const Json& chance) {
  if (!value.is_number()) return "-";
  const std::string text = Short(value.get<double>() * 100);
  return chance.get<double>() > kMostChance ? "(" + text + ")" : text;
}

}  // namespace

std::unique_ptr<QualityStudy> MakeRecallStudy(StudyInput input) {
  return std::make_unique<RecallStudy>(std::move(input));
}

std::string RecallTable(const Json& summary) {
  const Json& rows = summary["cells"];
  if (rows.empty()) return "nothing was observed\n";
  const std::vector<std::string> ks = ShownKs(rows[0]["recall_at"]);
  std::string text =
      "recall@k in %: the truly best k pages among the k best by the digest; in brackets where chance finds more than "
      "25 %. Mass: % of the attention in the pages read, of the best set of as many\n\n";
  std::vector<std::string> head = {"page", "kv group", "pages", "digest"};
  for (const std::string& k : ks) head.push_back("k " + k);
  head.insert(head.end(), {"budget", "mass", "mass oracle"});
  text += MarkdownHead(head);
  const Json* before = nullptr;
  for (const char* set : kPageSetNames) {
    for (const Json& group : summary["kv_groups"]) {
      before = nullptr;
      for (const Json& row : rows) {
        if (row["page_set"] != set || row["kv_group"] != group) continue;
        const std::vector<std::string> labels = {Number(row, "page_tokens"), group.dump(), set};
        if (before == nullptr || (*before)["page_tokens"] != row["page_tokens"]) {
          std::vector<std::string> chance = labels;
          chance.emplace_back("chance");
          for (const std::string& k : ks) chance.push_back(Number(row["chance"], k.c_str(), 100));
          chance.insert(chance.end(), {"", "", ""});
          text += MarkdownRow(chance);
        }
        before = &row;
        std::vector<std::string> cells = labels;
        cells.push_back(row["digest"].get<std::string>());
        for (const std::string& k : ks) cells.push_back(PercentCell(row["recall_at"][k], row["chance"][k]));
        for (const auto& [name, factor] : {std::pair{"budget_tokens", 1}, {"mass_recall", 100}, {"mass_oracle", 100}}) {
          cells.push_back(Number(row, name, factor));
        }
        text += MarkdownRow(cells);
      }
    }
  }
  return text;
}

}  // namespace arkvale::tools
