#include "tools/eval/perplexity_report.h"

#include <gtest/gtest.h>

#include <cmath>

namespace arkvale::tools {
namespace {

const RunInfo kRun = {.task = "perplexity", .model = "m.gguf", .model_sha256_prefix = "00", .kv_opt = "", .threads = 2};

KvOptions Of(KvPolicyKind policy) {
  KvOptions options;
  options.policy = policy;
  return options;
}

Json Record(int64_t chunk, const KvOptions& options, const std::vector<double>& nll) {
  const PerplexityChunk place = {.text = "a.txt", .text_sha256_prefix = "ab", .chunk = chunk, .chunk_tokens = 512};
  Json json = PerplexityLabels(kRun, place, options);
  json.update(PerplexityPlace(place));
  if (!nll.empty()) json.update(PerplexityResult(nll));
  json["error"] = nll.empty() ? Json("out of memory") : Json(nullptr);
  json.update(StatsFields({}));
  return json;
}

// The positions that llama.cpp's perplexity program scores: C/2 .. C-2.
TEST(PerplexityReport, AChunkIsHalfContext) {
  const PerplexityChunk even = {.chunk = 2, .chunk_tokens = 512}, odd = {.chunk_tokens = 5};
  EXPECT_EQ(even.n_context(), 256);
  EXPECT_EQ(even.n_steps(), 255);
  EXPECT_EQ(even.start_token(), 1024);
  EXPECT_EQ(odd.n_context(), 2);
  EXPECT_EQ(odd.n_steps(), 2);
}

// Evaluation protocol, section 10: ppl_ratio of these is exp(0.1).
TEST(PerplexityReport, RatioIsOverAllSteps) {
  const std::vector<KvOptions> cells = {Of(KvPolicyKind::kFull), Of(KvPolicyKind::kArkvale)};
  const std::vector<Json> records = {Record(0, cells[0], {1, 2, 3}), Record(0, cells[1], {1.1, 2.0, 3.2})};
  const Json summary = PerplexitySummaryJson(kRun, cells, records);
  const Json& rows = summary["cells"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[0]["ppl"].get<double>(), std::exp(2.0));
  EXPECT_EQ(rows[0]["ppl_ratio"], 1);
  EXPECT_NEAR(rows[1]["ppl_ratio"].get<double>(), 1.105170918, 1e-9);
  EXPECT_DOUBLE_EQ(rows[1]["ppl_ratio_hi"].get<double>(), rows[1]["ppl_ratio"].get<double>()) << "of one chunk";
  EXPECT_NE(PerplexityTable(summary).find("| a.txt | 512 | arkvale |"), std::string::npos) << PerplexityTable(summary);
}

TEST(PerplexityReport, ChunksWithAnErrorAreLeftOutAndShown) {
  const std::vector<KvOptions> cells = {Of(KvPolicyKind::kFull), Of(KvPolicyKind::kArkvale)};
  const std::vector<Json> records = {Record(0, cells[0], {1}), Record(0, cells[1], {}), Record(1, cells[0], {3}),
                                     Record(1, cells[1], {3})};
  Json summary = PerplexitySummaryJson(kRun, cells, records);
  EXPECT_DOUBLE_EQ(summary["cells"][0]["ppl"].get<double>(), std::exp(2.0));
  EXPECT_DOUBLE_EQ(summary["cells"][1]["ppl"].get<double>(), std::exp(3.0));
  EXPECT_EQ(summary["cells"][1]["ppl_ratio"], 1) << "only what both have is compared";
  EXPECT_EQ(summary["cells"][1]["errors"], 1);
  summary = PerplexitySummaryJson(kRun, cells, {Record(0, cells[0], {}), Record(0, cells[1], {})});
  EXPECT_EQ(summary["cells"][1]["ppl"], nullptr);
  EXPECT_NE(PerplexityTable(summary).find(" | - | - | "), std::string::npos) << PerplexityTable(summary);
}

}  // namespace
}  // namespace arkvale::tools
