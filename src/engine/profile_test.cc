// The mini-prefill on tiny models: its scores are those that a whole prefill's keys and queries give.
#include "engine/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "engine/session.h"
#include "kv/observer.h"
#include "model/gguf_test_util.h"
#include "ops/window_scores.h"

namespace arkvale {
namespace {

using Scores = std::map<int32_t, std::vector<float>>;

std::unique_ptr<Runtime> LoadTiny(const std::string& architecture, int32_t prefill_chunk, int32_t threads = 2) {
  const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string path =
      ::testing::TempDir() + "arkvale_profile_" + test + "_" + architecture + std::to_string(prefill_chunk) + ".gguf";
  testing::TinyModel(architecture).Write(path);
  auto runtime = Runtime::Load({.model_path = path, .threads = threads, .prefill_chunk = prefill_chunk});
  EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
  return runtime.ok() ? std::move(*runtime) : nullptr;
}

std::vector<int32_t> Ids(const Runtime& runtime, size_t n) {
  Rng rng("profile");
  std::vector<int32_t> ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.Below(static_cast<uint64_t>(runtime.info().n_vocab)));
  return ids;
}

Scores Profile(Runtime& runtime, const std::vector<int32_t>& ids, const ProfileOptions& options) {
  Scores scores;
  const Status status = ProfilePrompt(runtime, ids, options, [&](const LayerScores& layer) {
    scores[layer.layer].assign(layer.scores.begin(), layer.scores.end());
    return OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return scores;
}

// The same from the cache of the whole model.
class WholePrefill : public KvObserver {
 public:
  WholePrefill(Runtime& runtime, const ProfileOptions& options) : runtime_(runtime), options_(options) {}

  Scores Run(const std::vector<int32_t>& ids) {
    runtime_.cache().SetObserver(this);
    auto session = Session::Make(runtime_, {.policy = KvPolicyKind::kFull});
    EXPECT_TRUE(session.ok() && session->Prefill(ids, false).ok());
    runtime_.cache().SetObserver(nullptr);
    return scores_;
  }

  Status OnQuery(const KvObservation& seen) override {
    const KvLayerShape& shape = runtime_.cache().shape().layers[seen.layer];
    const int64_t w = options_.window, rows = seen.queries.rows;
    auto& scores = scores_[seen.layer];
    scores.resize(shape.n_kv_heads * (seen.n_tokens - w));
    return WindowScores(runtime_.op_context(),
                        {.kv = seen.kv,
                         .q_heads_per_kv_head = shape.q_per_kv(),
                         .scale = shape.scale,
                         .softcap = shape.softcap,
                         .n_tokens = seen.n_tokens,
                         .q = {seen.queries.row(rows - w), w, seen.queries.cols, seen.queries.stride},
                         .kernel = options_.kernel,
                         .scores = scores.data()});
  }

 private:
  Runtime& runtime_;
  const ProfileOptions options_;
  Scores scores_;
};

// gemma3 has sliding layers and norms after attention, qwen3 norms of heads.
TEST(Profile, HasTheBitsOfAWholePrefill) {
  for (const char* architecture : {"llama", "gemma3", "qwen3"}) {
    SCOPED_TRACE(architecture);
    const ProfileOptions options{.window = 5, .kernel = 3};
    const auto whole = LoadTiny(architecture, 512);
    const std::vector<int32_t> ids = Ids(*whole, 150);
    const Scores expected = WholePrefill(*whole, options).Run(ids);
    ASSERT_FALSE(expected.empty());
    EXPECT_EQ(Profile(*whole, ids, options), expected);
    for (const int32_t chunk : {1, 16, 149}) {
      SCOPED_TRACE(chunk);
      EXPECT_EQ(Profile(*LoadTiny(architecture, chunk, /*threads=*/1), ids, options), expected);
    }
  }
}

TEST(Profile, ScoresLayersOfFullAttentionAlone) {
  const auto runtime = LoadTiny("gemma3", 64);
  const Scores scores = Profile(*runtime, Ids(*runtime, 40), {});
  const KvShape& shape = runtime->cache().shape();
  ASSERT_GT(shape.n_layers(), static_cast<int32_t>(scores.size()));
  for (int32_t l = 0; l < shape.n_layers(); ++l) {
    EXPECT_EQ(scores.contains(l), shape.layers[l].window == 0) << l;
  }
}

TEST(Profile, LeavesTheRuntimeAsItWas) {
  const auto runtime = LoadTiny("llama", 16);
  const std::vector<int32_t> ids = Ids(*runtime, 60);
  const auto logits = [&] {
    auto session = Session::Make(*runtime, {.policy = KvPolicyKind::kFull});
    EXPECT_TRUE(session.ok() && session->Prefill(ids, true).ok());
    return std::vector<float>(session->logits().begin(), session->logits().end());
  };
  const std::vector<float> before = logits();
  Profile(*runtime, ids, {});
  EXPECT_EQ(logits(), before);
}

TEST(Profile, RefusesWhatItCannotJudge) {
  const auto runtime = LoadTiny("llama", 16);
  const LayerScoresSink nobody = [](const LayerScores&) { return OkStatus(); };
  const auto message = [&](size_t n, const ProfileOptions& options, const LayerScoresSink& sink) {
    const Status status = ProfilePrompt(*runtime, Ids(*runtime, n), options, sink);
    EXPECT_FALSE(status.ok());
    return status.message();
  };
  EXPECT_EQ(message(8, {}, nobody),
            "a prompt of 8 tokens is no longer than the window of 8 that judges it: give a longer one");
  EXPECT_EQ(message(0, {}, nobody),
            "a prompt of 0 tokens is no longer than the window of 8 that judges it: give a longer one");
  EXPECT_EQ(message(9, {.window = 0}, nobody), "a window of 0 tokens: use 1 or more");
  EXPECT_FALSE(message(9, {.kernel = 4}, nobody).empty());
  int calls = 0;
  EXPECT_EQ(message(9, {}, [&](const LayerScores&) { return ++calls, InvalidArgument("enough"); }), "enough");
  EXPECT_EQ(calls, 1);
  std::vector<int32_t> ids = Ids(*runtime, 20);
  ids[15] = runtime->info().n_vocab;
  EXPECT_FALSE(ProfilePrompt(*runtime, ids, {}, nobody).ok());
  EXPECT_TRUE(ProfilePrompt(*runtime, std::span(ids).first(9), {}, nobody).ok());
}

TEST(Profile, ProgressCountsTokensTimesLayersAndMayEndIt) {
  const auto runtime = LoadTiny("llama", 16);
  const std::vector<int32_t> ids = Ids(*runtime, 40);
  const LayerScoresSink nobody = [](const LayerScores&) { return OkStatus(); };
  std::vector<int64_t> told;
  const auto tell = [&](int64_t done) { return told.push_back(done), OkStatus(); };
  ASSERT_TRUE(ProfilePrompt(*runtime, ids, {}, nobody, tell).ok());
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_GT(told.size(), size_t(runtime->info().n_layers)) << "chunks of a layer are told too";
  EXPECT_EQ(told.back(), 40 * runtime->info().n_layers);

  const size_t n_told = told.size();
  const auto end = [&](int64_t done) { return told.push_back(done), Cancelled("interrupted"); };
  EXPECT_EQ(ProfilePrompt(*runtime, ids, {}, nobody, end).kind(), StatusKind::kCancelled);
  EXPECT_EQ(told.size(), n_told + 1);
}

TEST(Profile, BytesGrowWithTheTokensByLessThanACache) {
  const auto runtime = LoadTiny("llama", 16);
  const ModelConfig& model = runtime->transformer().config();
  const int64_t n = 64 * 1024;
  const int64_t grown = ProfileBytes(*runtime, 2 * n) - ProfileBytes(*runtime, n);
  const int64_t floats = model.d_model + model.n_kv_heads + model.n_q_heads;
  EXPECT_EQ(grown, n * (4 * floats + runtime->cache().shape().layers[0].token_bytes(DType::kF16)));
}

}  // namespace
}  // namespace arkvale
