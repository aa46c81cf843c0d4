// eval recalls: how many pages a step recalls at each budget and top-k (algorithms 6.4), by the cache's own rule on the
// estimates of a digest, or as the ArkVale paper simulates it.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "kv/select.h"
#include "tools/eval/cell_records.h"
#include "tools/eval/quality_study.h"
#include "tools/eval/residency_sim.h"

namespace arkvale::tools {
namespace {

struct GridPoint {
  int64_t capacity = 0, topk = 0;  // pages
  auto operator<=>(const GridPoint&) const = default;
};

// Sums over layers, in layer-pages and bytes.
struct RecallCounts {
  double recalled = 0, inserted = 0, recalled_bytes = 0;
  int64_t steps = 0;

  Json ToJson() const {
    return {{"steps", steps}, {"recalled", recalled}, {"inserted", inserted}, {"recalled_bytes", recalled_bytes}};
  }
};

Json PerStep(const Json& sums) {
  const Json& steps = sums["steps"];
  return {{"recalls_per_step", MeanOfSum(sums["recalled"], steps)},
          {"inserted_per_step", MeanOfSum(sums["inserted"], steps)},
          {"recalled_bytes_per_step", MeanOfSum(sums["recalled_bytes"], steps)}};
}

class RecallsStudy : public QualityStudy {
 public:
  explicit RecallsStudy(StudyInput input) : in_(std::move(input)), digests_(in_.Digests()) {
    // The cells differ in their budgets too, which the grid replaces; and the paper's ranking is no digest's.
    for (const KvOptions& cell : in_.cells) {
      const bool first =
          std::none_of(cells_.begin(), cells_.end(), [&](const KvOptions& c) { return c.digest == cell.digest; });
      if (first && (cells_.empty() || !in_.options.simulate)) cells_.push_back(cell);
    }
  }

  ProbeNeeds Needs() const override {
    ProbeNeeds needs{.page_tokens = in_.page_tokens(), .digests = {}, .digest_type = in_.cells.front().digest_type};
    needs.page_scores = in_.options.simulate;
    if (!in_.options.simulate) needs.digests = digests_;
    return needs;
  }
  void Add(const LayerSight& sight) override;
  std::vector<Json> EndRecord(const QualityRecord& record) override;

 private:
  struct Key {
    size_t cell, size;
    GridPoint point;
    auto operator<=>(const Key&) const = default;
  };
  struct SimKey {
    Key key;
    int32_t layer, group;
    auto operator<=>(const SimKey&) const = default;
  };

  std::vector<std::pair<GridPoint, PageBudget>> Grid(const KvOptions& cell, int32_t layer) const;
  Json Line(Json json, const Key& key, const RecallCounts& counts) const;

  const StudyInput in_;
  const std::vector<DigestKind> digests_;
  std::vector<KvOptions> cells_;
  std::map<SimKey, ResidencySim> sims_;
};

// Points that the budget's rule admits.
std::vector<std::pair<GridPoint, PageBudget>> RecallsStudy::Grid(const KvOptions& cell, int32_t layer) const {
  std::vector<std::pair<GridPoint, PageBudget>> grid;
  for (const int64_t capacity : in_.options.capacities) {
    for (const int64_t topk : in_.options.topks) {
      if (topk > capacity) continue;
      if (in_.options.simulate) {
        grid.push_back({{capacity, topk}, UnpinnedBudget(static_cast<int32_t>(capacity), static_cast<int32_t>(topk))});
        continue;
      }
      KvOptions options = cell;
      options.budget_tokens = capacity * cell.page_tokens;
      options.topk = {TopkRule::Kind::kPages, static_cast<int32_t>(topk)};
      if (capacity < cell.sink_pages + cell.window_pages + 1) continue;
      grid.push_back({{capacity, topk}, MakePageBudget(options, layer, /*reads_in_place=*/true)});
    }
  }
  return grid;
}

void RecallsStudy::Add(const LayerSight& sight) {
  for (size_t size = 0; size < in_.options.groups.size(); ++size) {
    const int32_t g = in_.options.groups[size];
    for (size_t cell = 0; cell < cells_.size(); ++cell) {
      const GroupScores scores =
          in_.options.simulate ? TrueGroupScores(sight, g) : EstimatedGroupScores(sight, cell, g);
      for (const auto& [point, budget] : Grid(cells_[cell], sight.layer)) {
        for (size_t group = 0; group < scores.size(); ++group) {
          const SimKey key = {{cell, size, point}, sight.layer, static_cast<int32_t>(group)};
          ResidencySim& sim = sims_.try_emplace(key, budget, cells_[cell].window_exit).first->second;
          if (sight.prefill_end) {
            sim.EndPrefill(sight.n_pages, scores[group]);
          } else {
            sim.Step(sight.n_pages, scores[group]);
          }
        }
      }
    }
  }
}

Json RecallsStudy::Line(Json json, const Key& key, const RecallCounts& counts) const {
  json["budget_tokens"] = key.point.capacity * in_.page_tokens();
  json["kv_group"] = in_.options.groups[key.size];
  json["ranking"] = in_.options.simulate ? "true" : "digest";
  if (in_.options.simulate) {
    for (const char* name : {"digest", "sink_pages", "window_pages"}) json[name] = nullptr;
  }
  json["capacity_pages"] = key.point.capacity;
  json["topk_pages"] = key.point.topk;
  SetSums(counts.ToJson(), PerStep, json);
  return json;
}

std::vector<Json> RecallsStudy::EndRecord(const QualityRecord& record) {
  std::map<Key, RecallCounts> counts;
  for (const auto& [key, sim] : sims_) {
    const KvLayerShape& shape = in_.shape.layers[key.layer];
    const int32_t g = in_.options.groups[key.key.size];
    const double groups_share = static_cast<double>(g) / shape.n_kv_heads;
    const auto layer_page_bytes =
        static_cast<double>(shape.token_bytes(in_.shape.dtype)) * in_.cells.front().page_tokens;
    RecallCounts& c = counts[key.key];
    c.recalled += static_cast<double>(sim.recalled()) * groups_share;
    c.inserted += static_cast<double>(sim.inserted()) * groups_share;
    c.recalled_bytes += static_cast<double>(sim.recalled()) * groups_share * layer_page_bytes;
    c.steps = sim.steps();
  }
  std::vector<Json> lines;
  for (const auto& [key, c] : counts) {
    lines.push_back(Line(QualityFields(in_.run, cells_[key.cell], record), key, c));
  }
  sims_.clear();
  return lines;
}

// What one table shows: all rows that differ in capacity and top-k alone.
std::string GridName(const Json& row) {
  const std::string how = row["ranking"] == "true" ? "true ranking, nothing pinned" : row["digest"].get<std::string>();
  return "page " + Number(row, "page_tokens") + ", kv group " + Number(row, "kv_group") + ", " + how;
}

}  // namespace

std::unique_ptr<QualityStudy> MakeRecallsStudy(StudyInput input) {
  return std::make_unique<RecallsStudy>(std::move(input));
}

std::unique_ptr<QualitySummary> MakeRecallsSummary() { return MakeSumsSummary({"ranking", "capacity_pages"}, PerStep); }

std::string RecallsTable(const Json& summary) {
  std::vector<std::string> names;
  std::map<std::string, std::map<std::pair<int64_t, int64_t>, const Json*>> grids;  // by top-k, capacity
  std::set<int64_t> capacities;
  for (const Json& row : summary["cells"]) {
    const std::string name = GridName(row);
    if (grids.find(name) == grids.end()) names.push_back(name);
    const auto capacity = row["capacity_pages"].get<int64_t>();
    capacities.insert(capacity);
    grids[name][{row["topk_pages"].get<int64_t>(), capacity}] = &row;
  }
  std::string text =
      "layer-pages recalled a step, all layers, by top-k (down) and capacity c/p (across); recalled + inserted in "
      "brackets\n";
  for (const std::string& name : names) {
    std::vector<std::string> head = {"k"};
    for (const int64_t c : capacities) head.push_back("c/p " + std::to_string(c));
    text += "\n" + name + "\n\n" + MarkdownHead(head);
    std::set<int64_t> topks;
    for (const auto& [point, row] : grids[name]) topks.insert(point.first);
    for (const int64_t k : topks) {
      std::vector<std::string> cells = {std::to_string(k)};
      for (const int64_t c : capacities) {
        const auto found = grids[name].find({k, c});
        if (found == grids[name].end()) {
          cells.emplace_back("");
          continue;
        }
        const Json& row = *found->second;
        const auto recalled = row["recalls_per_step"].get<double>();
        cells.push_back(Short(recalled) + " (" + Short(recalled + row["inserted_per_step"].get<double>()) + ")");
      }
      text += MarkdownRow(cells);
    }
  }
  return text;
}

}  // namespace arkvale::tools
