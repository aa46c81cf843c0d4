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

// Sums over the (step, group) samples of a layer.
struct RecallSums {
  std::map<int32_t, int64_t> samples;  // by the number of pages that were ranked
  std::vector<int64_t> found;          // by k, from 1: of the truly best k
  double mass = 0, oracle = 0;
  int64_t n_mass = 0;

  void AddRanking(std::span<const int32_t> hits, int32_t n_pages) {
    ++samples[n_pages];
    if (found.size() < hits.size()) found.resize(hits.size());
    for (size_t i = 0; i < hits.size(); ++i) found[i] += hits[i];
  }

  Json ToJson(std::span<const int64_t> ks) const {
    Json by_pages = Json::object(), found_at = Json::object();
    for (const auto& [n_pages, n] : samples) by_pages[std::to_string(n_pages)] = n;
    for (const int64_t k : ks) found_at[std::to_string(k)] = k <= std::ssize(found) ? found[k - 1] : 0;
    return {{"samples_by_pages", by_pages},
            {"found_at", found_at},
            {"mass_samples", n_mass},
            {"mass", mass},
            {"mass_oracle", oracle}};
  }
};

// A sample counts at every k up to its pages.
Json LayerMeasures(const Json& sums) {
  Json recall = Json::object(), chance = Json::object();
  for (const auto& [name, found] : sums["found_at"].items()) {
    const int64_t k = std::stoll(name);
    int64_t n = 0;
    double expected = 0;
    for (const auto& [pages, samples] : sums["samples_by_pages"].items()) {
      const int64_t n_pages = std::stoll(pages);
      if (n_pages < k) continue;
      n += samples.get<int64_t>();
      expected += samples.get<double>() * static_cast<double>(k) / static_cast<double>(n_pages);
    }
    recall[name] = MeanOfSum(found, k * n);
    chance[name] = MeanOfSum(expected, n);
  }
  return {{"recall_at", recall},
          {"mass_recall", MeanOfSum(sums["mass"], sums["mass_samples"])},
          {"mass_oracle", MeanOfSum(sums["mass_oracle"], sums["mass_samples"])},
          {"chance", chance}};
}

// `sums`: of each layer, by its name.
Json RecallMeasures(const Json& sums) {
  Json all = Json::object();
  for (const Json& of_layer : sums) AddSums(of_layer, all);
  return LayerMeasures(all);
}

Json RecallMeasuresAndLayers(const Json& sums) {
  Json measures = RecallMeasures(sums);
  Json& layers = measures["layers"] = Json::array();
  for (const auto& [layer, of_layer] : sums.items()) {
    layers.push_back({{"layer", std::stoi(layer)}});
    layers.back().update(LayerMeasures(of_layer));
  }
  return measures;
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

  const StudyInput in_;
  const std::vector<DigestKind> digests_;
  int32_t max_k_ = 0;
  std::map<SimKey, ResidencySim> sims_;
  std::map<Key, ByLayer> record_;
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
  const int32_t begin = std::min(any.sink_pages, sight.n_filled);
  const int32_t end = std::max(begin, sight.n_pages - any.window_pages);
  const std::pair<int32_t, int32_t> ranges[] = {{0, sight.n_filled}, {begin, end}};
  std::vector<int32_t> hits[kPageSets];
  for (int set = 0; set < kPageSets && !sight.prefill_end; ++set) {
    const auto [first, last] = ranges[set];
    hits[set] = RecallHits(RankPages(truth.subspan(first, last - first)),
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
      record_[{cell, size, static_cast<PageSet>(set)}][sight.layer].AddRanking(hits[set], last - first);
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

std::vector<Json> RecallStudy::EndRecord(const QualityRecord& record) {
  std::vector<Json> lines;
  for (const auto& [key, by_layer] : record_) {
    Json& line = lines.emplace_back(QualityFields(in_.run, in_.cells[key.cell], record));
    line["kv_group"] = in_.options.groups[key.group];
    line["page_set"] = kPageSetNames[key.set];
    Json sums = Json::object();
    for (const auto& [layer, of_layer] : by_layer) sums[std::to_string(layer)] = of_layer.ToJson(in_.options.ks);
    SetSums(std::move(sums), RecallMeasures, line);
  }
  record_.clear();
  sims_.clear();
  return lines;
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

std::unique_ptr<QualitySummary> MakeRecallSummary() { return MakeSumsSummary({"page_set"}, RecallMeasuresAndLayers); }

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
