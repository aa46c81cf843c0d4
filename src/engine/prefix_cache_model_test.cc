#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine_test_util.h"
#include "engine/prefix_cache.h"

namespace arkvale {
namespace {

class PrefixCacheTest : public testing::Test {
 protected:
  void Load(const EngineOptions& options) {
    auto loaded = Runtime::Load(options);
    ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
    runtime_ = std::move(*loaded);
    auto ids = runtime_->tokenizer().Encode(Novel(4000), true, false);
    ASSERT_TRUE(ids.ok());
    ids_ = std::move(*ids);
  }

  std::span<const int32_t> First(size_t n) const { return std::span(ids_).first(n); }

  Session Fresh(std::span<const int32_t> ids, const KvOptions& kv) {
    auto session = Session::Make(*runtime_, kv);
    EXPECT_TRUE(session.ok() && session->Prefill(ids, true).ok());
    return std::move(*session);
  }

  // A session of `ids` from the cache, which must have had `reused` of them.
  Session Started(PrefixCache& cache, std::span<const int32_t> ids, const KvOptions& kv, int64_t reused) {
    auto session = cache.Start(kv, ids);
    EXPECT_TRUE(session.ok()) << session.status().ToString();
    EXPECT_EQ(session->n_tokens(), reused);
    EXPECT_TRUE(session->Prefill(ids.subspan(static_cast<size_t>(session->n_tokens())), true).ok());
    return std::move(*session);
  }

  // The logits now and after greedy steps: equal only where the sequences are equal to the bit.
  static std::vector<std::vector<float>> Trace(Session session) {
    std::vector<std::vector<float>> trace;
    for (int step = 0;; ++step) {
      const auto logits = session.logits();
      trace.emplace_back(logits.begin(), logits.end());
      if (step == 3) return trace;
      const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      EXPECT_TRUE(session.Step(best).ok());
    }
  }

  std::unique_ptr<Runtime> runtime_;
  std::vector<int32_t> ids_;
};

KvOptions SmallPages() {
  KvOptions kv = Kv(KvPolicyKind::kArkvale, 64);
  kv.page_tokens = 8;
  kv.digest = DigestKind::kCentroid;
  return kv;
}

KvOptions SmallZone() {
  KvOptions kv = ZoneKv(64);
  kv.page_tokens = 8;
  kv.zone_tokens = 40;
  kv.zone_value_bits = 4;
  return kv;
}

TEST_F(PrefixCacheTest, APromptThatBeginsAlikeHasTheBitsOfAFreshRun) {
  ASSERT_NO_FATAL_FAILURE(Load(SmolLm2()));
  const std::vector<KvOptions> options = {Kv(KvPolicyKind::kFull, 0), SmallPages(), SmallZone()};
  std::vector<int32_t> turned(ids_.begin(), ids_.begin() + 180);
  turned[101] = turned[100];  // parts from the text in the middle of a block and of a page
  const std::span<const int32_t> longer = First(190), same = First(171);
  for (const KvOptions& then : options) {
    const auto of_longer = Trace(Fresh(longer, then)), of_same = Trace(Fresh(same, then)),
               of_turned = Trace(Fresh(turned, then));
    for (const KvOptions& first : options) {
      PrefixCache cache(*runtime_, 4);
      cache.Keep(Fresh(same, first));
      EXPECT_EQ(Trace(Started(cache, longer, then, 171)), of_longer);
      EXPECT_EQ(Trace(Started(cache, same, then, 170)), of_same);
      EXPECT_EQ(Trace(Started(cache, turned, then, 101)), of_turned);
    }
  }
}

TEST_F(PrefixCacheTest, StepsAreNeverReused) {
  ASSERT_NO_FATAL_FAILURE(Load(SmolLm2()));
  PrefixCache cache(*runtime_, 4);
  Session session = Fresh(First(200), Kv(KvPolicyKind::kFull, 0));
  for (size_t i = 200; i < 210; ++i) ASSERT_TRUE(session.Step(ids_[i], false).ok());
  ASSERT_TRUE(session.Prefill(std::span(ids_).subspan(210, 90), false).ok());
  EXPECT_EQ(session.n_tokens(), 300);
  EXPECT_EQ(session.n_prefilled(), 200);
  cache.Keep(session);
  Started(cache, First(300), {}, 200);
}

TEST_F(PrefixCacheTest, KeepsTheLastUsedAndNothingShort) {
  ASSERT_NO_FATAL_FAILURE(Load(SmolLm2()));
  const auto part = [&](size_t begin, size_t n) { return std::span<const int32_t>(ids_).subspan(begin, n); };
  PrefixCache cache(*runtime_, 2);
  const KvOptions kv = Kv(KvPolicyKind::kFull, 0);
  cache.Keep(Fresh(part(0, 63), kv));
  Started(cache, part(0, 70), kv, 0);
  cache.Keep(Fresh(part(0, 100), kv));
  cache.Keep(Fresh(part(200, 100), kv));
  Started(cache, part(0, 101), kv, 100);
  cache.Keep(Fresh(part(400, 100), kv));
  Started(cache, part(200, 101), kv, 0);
  Started(cache, part(0, 101), kv, 100);
  Started(cache, part(400, 101), kv, 100);
  cache.Keep(Fresh(part(0, 120), kv));  // takes the place of its own beginning
  Started(cache, part(400, 101), kv, 100);
  Started(cache, part(0, 130), kv, 120);

  PrefixCache off(*runtime_, 0);
  off.Keep(Fresh(part(0, 100), kv));
  Started(off, part(0, 101), kv, 0);
}

TEST_F(PrefixCacheTest, MakesRoomBeforeACallFails) {
  ASSERT_NO_FATAL_FAILURE(Load(SmolLm2()));
  PrefixCache cache(*runtime_, 4);
  const KvOptions kv = Kv(KvPolicyKind::kFull, 0);
  cache.Keep(Fresh(First(100), kv));
  int calls = 0;
  const auto failing = [&] { return ++calls, ResourceExhausted("full"); };
  EXPECT_EQ(cache.WithMemory([&] { return ++calls, Internal("broken"); }).kind(), StatusKind::kInternal);
  EXPECT_EQ(calls, 1);
  Started(cache, First(101), kv, 100);
  calls = 0;
  EXPECT_EQ(cache.WithMemory(failing).kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(calls, 2);
  Started(cache, First(101), kv, 0);
  calls = 0;
  EXPECT_EQ(cache.WithMemory(failing).kind(), StatusKind::kResourceExhausted);
  EXPECT_EQ(calls, 1) << "nothing was left to forget";
}

// 15 layers slide over 512 tokens: what left the window is gone.
TEST_F(PrefixCacheTest, ASlidingWindowIsContinuedButNotCutBack) {
  ASSERT_NO_FATAL_FAILURE(Load(Gemma3()));
  const KvOptions kv = Kv(KvPolicyKind::kArkvale, 256);
  PrefixCache cache(*runtime_, 4);
  cache.Keep(Fresh(First(700), kv));
  EXPECT_EQ(Trace(Started(cache, First(720), kv, 700)), Trace(Fresh(First(720), kv)));
  std::vector<int32_t> turned(ids_.begin(), ids_.begin() + 150);
  turned[101] = turned[100];
  Started(cache, turned, kv, 0);
}

TEST(EnginePrefix, AnotherQuestionOfTheSameTextPrefillsOneToken) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  EngineOptions options = SmolLm2();
  options.kept_sequences = 0;
  const auto forgetful = Open(options);
  ASSERT_NE(forgetful, nullptr);
  auto request = Request(Novel(1000), "\nThe captain", SmallPages());
  request.max_tokens = 6;
  EXPECT_EQ(Generate(*engine, request).reused_tokens, 0);
  for (const char* question : {"\nThe captain", "\nThe name of"}) {
    request.question = question;
    for (const auto& kv : {SmallPages(), Kv(KvPolicyKind::kFull, 0)}) {
      request.kv = kv;
      const auto kept = Generate(*engine, request), fresh = Generate(*forgetful, request);
      EXPECT_EQ(kept.reused_tokens, kept.prompt_tokens - 1);
      EXPECT_EQ(fresh.reused_tokens, 0);
      EXPECT_EQ(kept.token_ids, fresh.token_ids);
      EXPECT_EQ(kept.kv.n_tokens, fresh.kv.n_tokens);
    }
  }
}

TEST(EnginePrefix, ACancelledPrefillIsNotLost) {
  EngineOptions options = SmolLm2();
  options.prefill_chunk = 128;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  const auto request = Request(Novel(2000), "", Kv(KvPolicyKind::kArkvale, 256));
  std::atomic<bool> cancel = false;
  GenerateCallbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.on_progress = [&](Stage, int64_t done, int64_t) { cancel = done >= 256; };
  EXPECT_EQ(engine->Generate(request, callbacks).status().kind(), StatusKind::kCancelled);
  EXPECT_EQ(Generate(*engine, request).reused_tokens, 256);
}

TEST(EnginePrefix, RefusesANegativeNumber) {
  EngineOptions options = SmolLm2();
  options.kept_sequences = -1;
  EXPECT_EQ(Engine::Open(options).status().kind(), StatusKind::kInvalidArgument);
}

}  // namespace
}  // namespace arkvale
