// Sessions on a tiny model: steps together, and contexts that no model computed.
#include "engine/session.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/gguf_test_util.h"

namespace arkvale {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // A file of its own: tests run side by side, and a mapped file must not be written again.
    path_ =
        ::testing::TempDir() + "arkvale_" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf";
    testing::TinyModel("llama").Write(path_);
    runtime_ = Load(16);
  }

  std::unique_ptr<Runtime> Load(int32_t prefill_chunk) const {
    auto runtime = Runtime::Load({.model_path = path_, .threads = 2, .prefill_chunk = prefill_chunk});
    EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
    return runtime.ok() ? std::move(*runtime) : nullptr;
  }

  static KvOptions Small() {
    return {.budget_tokens = 32, .page_tokens = 8, .sink_pages = 1, .window_pages = 1, .dense_layers = 1};
  }
  static KvOptions Full() { return {.policy = KvPolicyKind::kFull}; }

  static Session Make(Runtime& runtime, const KvOptions& options) {
    auto session = Session::Make(runtime, options);
    EXPECT_TRUE(session.ok()) << session.status().ToString();
    return std::move(*session);
  }

  std::vector<int32_t> Ids(const std::string& name, size_t n) const {
    Rng rng(name);
    std::vector<int32_t> ids(n);
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.Below(static_cast<uint64_t>(runtime_->info().n_vocab)));
    return ids;
  }

  // The same five sequences at every call: several depths and policies, and a fork.
  std::vector<Session> Crowd() const {
    std::vector<Session> crowd;
    for (const size_t depth : {1, 7, 50, 90}) {
      crowd.push_back(Make(*runtime_, depth % 2 == 0 ? Small() : Full()));
      EXPECT_TRUE(crowd.back().Prefill(Ids("prompt", depth), false).ok());
    }
    auto fork = crowd[3].Fork(Small());
    EXPECT_TRUE(fork.ok());
    crowd.push_back(std::move(*fork));
    return crowd;
  }

  std::string path_;
  std::unique_ptr<Runtime> runtime_;
};

std::vector<Session*> Pointers(std::vector<Session>& sessions) {
  std::vector<Session*> pointers;
  for (Session& session : sessions) pointers.push_back(&session);
  return pointers;
}

TEST_F(SessionTest, StepsTogetherHaveTheBitsOfStepsAlone) {
  std::vector<Session> alone = Crowd(), crowd = Crowd();
  const std::vector<Session*> together = Pointers(crowd);
  const auto n_vocab = static_cast<size_t>(runtime_->info().n_vocab);
  std::vector<float> logits;
  for (int step = 0; step < 20; ++step) {
    const auto ids = Ids("step/" + std::to_string(step), together.size());
    ASSERT_TRUE(Session::StepTogether(together, ids, logits).ok());
    ASSERT_EQ(logits.size(), together.size() * n_vocab);
    for (size_t s = 0; s < alone.size(); ++s) {
      ASSERT_TRUE(alone[s].Step(ids[s]).ok());
      const auto expected = alone[s].logits();
      const auto got = std::span(logits).subspan(s * n_vocab, n_vocab);
      ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin(), expected.end())) << step << " " << s;
      EXPECT_TRUE(crowd[s].logits().empty());
      ASSERT_EQ(std::vector(crowd[s].ids().begin(), crowd[s].ids().end()),
                std::vector(alone[s].ids().begin(), alone[s].ids().end()));
    }
  }
}

TEST_F(SessionTest, AStepTogetherThatFailsChangesNothing) {
  std::vector<Session> crowd = Crowd();
  std::vector<Session*> sessions = Pointers(crowd);
  std::vector<float> logits;
  const auto fails = [&](const std::vector<Session*>& who, const std::vector<int32_t>& ids) {
    const Status status = Session::StepTogether(who, ids, logits);
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << status.ToString();
  };
  fails({}, {});
  fails(sessions, {1, 2});
  fails(sessions, {1, 2, 3, runtime_->info().n_vocab, 4});
  fails({sessions[0], sessions[1], sessions[0]}, {1, 2, 3});
  const auto other = Load(16);
  Session stranger = Make(*other, Full());
  ASSERT_TRUE(stranger.Prefill(Ids("prompt", 3), false).ok());
  fails({sessions[0], &stranger}, {1, 2});
  std::vector<Session> fresh = Crowd();
  for (size_t s = 0; s < crowd.size(); ++s) {
    EXPECT_EQ(crowd[s].n_tokens(), fresh[s].n_tokens());
    ASSERT_TRUE(crowd[s].Step(5).ok() && fresh[s].Step(5).ok());
    const auto a = crowd[s].logits(), b = fresh[s].logits();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << s;
  }
}

// Rows whose values depend on the seed, the layer and the position alone, whatever the chunk they come in.
Session::RowSource Rows(const Session& session, uint64_t seed) {
  return [&session, seed](int32_t layer, const MatrixView& k, const MatrixView& v) {
    for (int64_t r = 0; r < k.rows; ++r) {
      Rng rng(seed + static_cast<uint64_t>(layer * 1000 + session.n_tokens() + r));
      for (const MatrixView& m : {k, v}) {
        for (int64_t c = 0; c < m.cols; ++c) m.row(r)[c] = rng.Uniform(-1, 1);
      }
    }
  };
}

TEST_F(SessionTest, AnInjectedContextIsReadWhateverItsChunks) {
  const auto ids = Ids("prompt", 71);
  const auto trace = [&](Runtime& runtime, uint64_t seed, const KvOptions& options) {
    Session context = Make(runtime, Full());
    EXPECT_TRUE(context.Inject(std::span(ids).first(70), Rows(context, seed)).ok());
    EXPECT_EQ(context.n_tokens(), 70);
    EXPECT_TRUE(context.Prefill(std::span(ids).last(1), true).ok());
    EXPECT_EQ(context.n_prefilled(), 0) << "its start is that of no prefill";
    std::vector<float> seen(context.logits().begin(), context.logits().end());
    auto fork = context.Fork(options);
    EXPECT_TRUE(fork.ok());
    for (const int32_t id : Ids("step", 12)) {
      EXPECT_TRUE(fork->Step(id).ok());
      seen.insert(seen.end(), fork->logits().begin(), fork->logits().end());
    }
    EXPECT_EQ(fork->n_tokens(), 83);
    return seen;
  };
  const auto small_chunks = Load(5);
  for (const KvOptions& options : {Full(), Small()}) {
    const auto expected = trace(*runtime_, 1, options);
    EXPECT_EQ(trace(*small_chunks, 1, options), expected);
    EXPECT_NE(trace(*runtime_, 2, options), expected);
  }
}

TEST_F(SessionTest, AutoIsNoBudgetOfLayersThatHaveTheirOwn) {
  auto limited = Runtime::Load({.model_path = path_, .threads = 1, .prefill_chunk = 16, .hot_limit_bytes = 1 << 20});
  ASSERT_TRUE(limited.ok()) << limited.status().ToString();
  for (const KvPolicyKind policy : {KvPolicyKind::kXkv, KvPolicyKind::kArkvale, KvPolicyKind::kFull}) {
    KvOptions options = Small();
    options.policy = policy;
    options.budget_tokens = kAutoBudget;
    EXPECT_TRUE((*limited)->ResolveBudget(options, 100).ok());
    options.layer_budget_tokens.assign((*limited)->info().n_layers, 32);
    const auto resolved = (*limited)->ResolveBudget(options, 100);
    EXPECT_EQ(resolved.ok(), policy == KvPolicyKind::kFull);
    if (!resolved.ok()) {
      EXPECT_NE(resolved.status().message().find("budget auto is one budget for all layers"), std::string::npos)
          << resolved.status().message();
    }
    options.budget_tokens = 64;
    EXPECT_TRUE((*limited)->ResolveBudget(options, 100).ok());
  }
}

TEST_F(SessionTest, AnInjectionBeyondTheMemoryLimitLeavesWholeChunks) {
  auto limited = Runtime::Load({.model_path = path_, .threads = 1, .host_limit_bytes = 1 << 16, .prefill_chunk = 16});
  ASSERT_TRUE(limited.ok());
  Session session = Make(**limited, Full());
  const auto ids = Ids("prompt", 100000);
  const Status status = session.Inject(ids, Rows(session, 1));
  EXPECT_EQ(status.kind(), StatusKind::kResourceExhausted) << status.ToString();
  EXPECT_EQ(session.n_tokens() % 16, 0);
  EXPECT_EQ(session.n_tokens(), (*limited)->cache().stats(SeqId(0)).value().n_tokens);
}

}  // namespace
}  // namespace arkvale
