// The selection-quality tasks on a real model: what probes see is what the engine sees.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "engine/engine_test_util.h"
#include "engine/session.h"
#include "kv/select.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/page_metrics.h"
#include "tools/eval/quality.h"
#include "tools/eval/residency_sim.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kContext = 900, kSteps = 40;  // 28 pages of 32, then two more

std::unique_ptr<Runtime> SmolLm2() {
  auto runtime = Runtime::Load(arkvale::SmolLm2());
  EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
  return runtime.ok() ? std::move(*runtime) : nullptr;
}

QualityInput Novel(const Runtime& runtime) {
  const TextSource source{.path = std::string(ARKVALE_SOURCE_DIR) + "/tests/data/frankenstein_excerpt.txt",
                          .n_records = 1,
                          .context_tokens = kContext};
  auto inputs = ReadTextInputs(runtime, source, kSteps);
  EXPECT_TRUE(inputs.ok()) << inputs.status().ToString();
  return inputs->front();
}

Status NoProgress(const char*, int64_t, int64_t) { return OkStatus(); }

// A study that only hands on what it sees.
class Listener : public QualityStudy {
 public:
  Listener(ProbeNeeds needs, std::function<void(const LayerSight&)> hear)
      : needs_(std::move(needs)), hear_(std::move(hear)) {}
  ProbeNeeds Needs() const override { return needs_; }
  void Add(const LayerSight& sight) override { hear_(sight); }
  std::vector<Json> EndRecord(const QualityRecord&) override { return {}; }

 private:
  const ProbeNeeds needs_;
  const std::function<void(const LayerSight&)> hear_;
};

std::vector<std::unique_ptr<QualityStudy>> Studies(std::unique_ptr<QualityStudy> study) {
  std::vector<std::unique_ptr<QualityStudy>> studies;
  studies.push_back(std::move(study));
  return studies;
}

std::vector<Json> SummaryRows(std::unique_ptr<QualitySummary> summary, const std::vector<Json>& lines) {
  summary->Add(lines);
  return summary->Rows();
}

std::vector<int32_t> Layers(int32_t first, int32_t end) {
  std::vector<int32_t> layers(end - first);
  std::iota(layers.begin(), layers.end(), first);
  return layers;
}

KvOptions Cell(int64_t budget, DigestKind digest) {
  KvOptions options;
  options.budget_tokens = budget;
  options.digest = digest;
  return options;
}

// The engine runs under a budget while a probe ranks the pages by its queries: by the same rule as many pages come
// back.
int64_t SimulatedRecalls(Runtime& runtime, const QualityInput& input, const KvOptions& options) {
  std::map<std::pair<int32_t, int32_t>, ResidencySim> sims;  // by layer, group
  const auto hear = [&](const LayerSight& sight) {
    const GroupScores scores = EstimatedGroupScores(sight, 0, options.group_heads);
    for (size_t group = 0; group < scores.size(); ++group) {
      ResidencySim& sim = sims.try_emplace({sight.layer, static_cast<int32_t>(group)},
                                           MakePageBudget(options, sight.layer, true), options.window_exit)
                              .first->second;
      if (sight.prefill_end) {
        sim.EndPrefill(sight.n_pages, scores[group]);
      } else {
        sim.Step(sight.n_pages, scores[group]);
      }
    }
  };
  ProbeNeeds needs{.page_tokens = options.page_tokens, .digests = {options.digest}};
  const auto studies = Studies(std::make_unique<Listener>(needs, hear));
  const auto record =
      ObserveRecord(runtime, input, options, studies, Layers(options.dense_layers, 30), kSteps, NoProgress);
  EXPECT_TRUE(record.ok()) << record.status().ToString();
  int64_t recalled = 0;
  for (const auto& [key, sim] : sims) {
    EXPECT_EQ(sim.steps(), kSteps);
    recalled += sim.recalled();
  }
  return recalled;
}

int64_t EngineRecalls(Runtime& runtime, const QualityInput& input, const KvOptions& options) {
  Session session = *Session::Make(runtime, options);
  EXPECT_TRUE(session.Prefill(input.context, false).ok());
  for (int64_t i = 0; i < kSteps; ++i) EXPECT_TRUE(session.Step(input.fed[i], false).ok());
  return session.stats()->counters.recalled;
}

TEST(Recalls, TheEnginesRankingsGiveTheEnginesCounter) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const QualityInput input = Novel(*runtime);
  struct Case {
    DigestKind digest;
    int32_t group_heads;
    WindowExit exit;
  };
  using enum DigestKind;
  for (const Case& c : {Case{kCuboidMean, 1, WindowExit::kRank}, Case{kCuboidMean, 3, WindowExit::kDrop},
                        Case{kCode2, 1, WindowExit::kDrop}, Case{kCode2, 3, WindowExit::kRank}}) {
    KvOptions options = Cell(512, c.digest);
    options.topk = {TopkRule::Kind::kPages, 8};
    options.group_heads = c.group_heads;
    options.combine = CombineKind::kMean;
    options.window_exit = c.exit;
    const int64_t engine = EngineRecalls(*runtime, input, options);
    EXPECT_GT(engine, 0);
    EXPECT_EQ(SimulatedRecalls(*runtime, input, options), engine) << DigestName(c.digest) << ", g " << c.group_heads;
  }
}

// Masses are shares, cuboid-max bounds the true scores, the centroid is below them.
TEST(PageProbe, SeesWhatTheQueriesSee) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const QualityInput input = Novel(*runtime);
  int32_t n_sights = 0, n_ends = 0;
  const auto hear = [&](const LayerSight& sight) {
    ++n_sights;
    n_ends += sight.prefill_end ? 1 : 0;
    EXPECT_EQ(sight.n_pages, (sight.n_tokens + 31) / 32);
    EXPECT_EQ(sight.n_filled, sight.n_tokens / 32);
    EXPECT_NEAR(std::accumulate(sight.token_mass.begin(), sight.token_mass.end(), 0.0), 1, 1e-4);
    const auto masses = GroupMasses(sight, 3);
    const PageMass pages = SumPages(sight.token_mass, 32);
    for (int32_t page = 0; page < sight.n_pages; ++page) EXPECT_NEAR(masses[0][page], pages.mass[page], 1e-4);
    for (const int32_t g : {1, 3}) {
      const GroupScores truth = TrueGroupScores(sight, g), centroid = EstimatedGroupScores(sight, 0, g),
                        bound = EstimatedGroupScores(sight, 1, g);
      // A sum over query heads where the kv head is a group of its own, else the mean of such sums.
      for (size_t j = 0; j < truth.size(); ++j) {
        for (int32_t page = 0; page < sight.n_filled; ++page) {
          const double slack = 1e-2 * (1 + std::abs(truth[j][page]));
          EXPECT_LE(centroid[j][page] / 3, truth[j][page] + slack);
          EXPECT_GE(bound[j][page] / 3, truth[j][page] - slack);
        }
      }
    }
  };
  ProbeNeeds needs{.page_scores = true, .token_mass = true, .digests = {DigestKind::kCentroid, DigestKind::kCuboidMax}};
  const auto studies = Studies(std::make_unique<Listener>(needs, hear));
  const auto record = ObserveRecord(*runtime, input, DenseOptions(), studies, {0, 7}, 33, NoProgress);
  ASSERT_TRUE(record.ok()) << record.status().ToString();
  EXPECT_EQ(n_sights, 2 * 34);
  EXPECT_EQ(n_ends, 2);
  EXPECT_EQ(record->steps, 33);
  EXPECT_EQ(record->tokens_question, 33);
}

StudyInput Input(Runtime& runtime, std::vector<KvOptions> cells) {
  StudyInput in{.run = {.task = "test"}, .shape = runtime.cache().shape(), .options = {}, .cells = std::move(cells)};
  in.options.ks = {1, 2, 4, 8};
  in.options.groups = {1, 3};
  return in;
}

TEST(RecallStudy, FullBudgetsReadEverythingAndCodesFindMore) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const QualityInput input = Novel(*runtime);
  const auto studies = Studies(MakeRecallStudy(Input(
      *runtime, {Cell(256, DigestKind::kCentroid), Cell(256, DigestKind::kCode2), Cell(2048, DigestKind::kCode2)})));
  const auto record = ObserveRecord(*runtime, input, DenseOptions(), studies, Layers(2, 30), /*steps=*/4, NoProgress);
  ASSERT_TRUE(record.ok()) << record.status().ToString();
  const std::vector<Json> lines = studies[0]->EndRecord(*record), rows = SummaryRows(MakeRecallSummary(), lines);
  ASSERT_EQ(lines.size(), 3u * 2 * 2);
  ASSERT_EQ(rows.size(), lines.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i]["recall_at"], lines[i]["recall_at"]) << "one record is all records";
    EXPECT_EQ(rows[i]["layers"].size(), 28u);
    const Json& row = rows[i];
    for (const auto& [k, recall] : row["recall_at"].items()) {
      EXPECT_GT(recall.get<double>(), 0);
      EXPECT_LE(recall.get<double>(), 1);
      const double pages = row["page_set"] == "all" ? 28.0 : 25.0;  // 28 or 29 with the filling one
      EXPECT_NEAR(row["chance"][k].get<double>(), std::stod(k) / pages, 0.02 * std::stod(k) / pages);
    }
    if (row["budget_tokens"] == 2048) {
      EXPECT_TRUE(row["mass_recall"].is_null()) << "nothing is chosen";
    } else {
      EXPECT_LT(row["mass_recall"], row["mass_oracle"]);
      EXPECT_GT(row["mass_recall"].get<double>(), 0);
    }
  }
  for (size_t i = 0; i < 4; ++i) {
    const Json &centroid = rows[i], &code2 = rows[4 + i];
    EXPECT_EQ(centroid["page_set"], code2["page_set"]);
    EXPECT_GT(code2["recall_at"]["4"], centroid["recall_at"]["4"]);
    EXPECT_GT(code2["mass_recall"], centroid["mass_recall"]);
  }
  EXPECT_FALSE(RecallTable({{"cells", rows}, {"kv_groups", {1, 3}}}).empty());
}

TEST(RecallsStudy, MoreRoomRecallsLess) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const QualityInput input = Novel(*runtime);
  for (const bool simulate : {false, true}) {
    StudyInput in = Input(*runtime, {Cell(256, DigestKind::kCuboidMean)});
    in.options.groups = {3};
    in.options.capacities = {8, 16, 64};
    in.options.topks = {4, 8};
    in.options.simulate = simulate;
    const auto studies = Studies(MakeRecallsStudy(std::move(in)));
    const auto record = ObserveRecord(*runtime, input, DenseOptions(), studies, Layers(2, 30), 8, NoProgress);
    ASSERT_TRUE(record.ok()) << record.status().ToString();
    const std::vector<Json> lines = studies[0]->EndRecord(*record), rows = SummaryRows(MakeRecallsSummary(), lines);
    ASSERT_EQ(lines.size(), 6u);
    ASSERT_EQ(rows.size(), 6u);
    std::map<std::pair<int, int>, double> recalls;
    for (const Json& row : rows) {
      const auto recalled = row["recalls_per_step"].get<double>();
      recalls[{row["capacity_pages"].get<int>(), row["topk_pages"].get<int>()}] = recalled;
      EXPECT_DOUBLE_EQ(row["recalled_bytes_per_step"].get<double>(), recalled * 32 * 3 * 64 * 2 * 2);
    }
    EXPECT_EQ((recalls[{64, 8}]), 0) << "everything is there";
    EXPECT_GT((recalls[{16, 8}]), 0);
    EXPECT_GT((recalls[{8, 8}]), (recalls[{16, 8}]));
    EXPECT_GE((recalls[{8, 8}]), (recalls[{8, 4}]));
    EXPECT_FALSE(RecallsTable({{"cells", rows}}).empty());
  }
}

TEST(AttentionStudies, CountPagesAndFollowRanks) {
  const auto runtime = SmolLm2();
  ASSERT_NE(runtime, nullptr);
  const QualityInput input = Novel(*runtime);
  std::vector<std::unique_ptr<QualityStudy>> studies;
  studies.push_back(MakeSparsityStudy(Input(*runtime, {Cell(256, DigestKind::kCuboidMean)})));
  studies.push_back(MakeDynamicsStudy(Input(*runtime, {Cell(256, DigestKind::kCuboidMean)})));
  const auto record = ObserveRecord(*runtime, input, DenseOptions(), studies, {0, 16}, 20, NoProgress);
  ASSERT_TRUE(record.ok()) << record.status().ToString();
  const std::vector<Json> sparsity = SummaryRows(MakeSparsitySummary(), studies[0]->EndRecord(*record));
  EXPECT_EQ(sparsity.size(), 2u);
  for (const Json& row : sparsity) {
    const auto n90 = row["n90_pages"].get<double>(), n99 = row["n99_pages"].get<double>();
    EXPECT_LE(1, n90);
    EXPECT_LE(n90, n99);
    EXPECT_LE(n99, row["pages_mean"].get<double>());
    EXPECT_NEAR(row["sparsity99"].get<double>(), 1 - n99 / row["pages_mean"].get<double>(), 0.02);
  }
  const std::vector<Json> lines = studies[1]->EndRecord(*record);
  EXPECT_EQ(lines.size(), 2u * 7 * 20) << "page 0 and six more, 20 steps of two layers";
  const std::vector<Json> dynamics = SummaryRows(MakeDynamicsSummary(), lines);
  EXPECT_EQ(dynamics.size(), 2u);
  for (const Json& row : dynamics) {
    EXPECT_GE(row["churn"].get<double>(), 0);
    EXPECT_LE(row["churn"].get<double>(), 1);
    EXPECT_TRUE(row["revival"].is_number());
  }
  EXPECT_FALSE(SparsityTable({{"cells", sparsity}}).empty());
  EXPECT_FALSE(DynamicsTable({{"cells", dynamics}}).empty());
}

}  // namespace
}  // namespace arkvale::tools
