#include <gtest/gtest.h>

#include "arkvale/engine.h"
#include "engine/engine_test_util.h"
#include "engine/session.h"

namespace arkvale {
namespace {

TEST(Engine, BudgetThatHoldsEverythingIsDense) {
  for (const auto& options : {SmolLm2(), Gemma3()}) {
    const auto engine = Open(options);
    ASSERT_NE(engine, nullptr);
    auto request = Request(Novel(2000), "\nThe name of the", Kv(KvPolicyKind::kFull, 0));
    const auto full = Generate(*engine, request);
    EXPECT_EQ(full.token_ids.size(), 16u);
    EXPECT_EQ(full.stop_reason, "length");
    for (const int64_t budget : {int64_t{0}, int64_t{1024}}) {
      request.kv = Kv(KvPolicyKind::kArkvale, budget);
      const auto arkvale = Generate(*engine, request);
      EXPECT_EQ(arkvale.token_ids, full.token_ids) << budget;
      EXPECT_EQ(arkvale.text, full.text);
      EXPECT_EQ(arkvale.kv.counters.scored_steps, 0);
      EXPECT_EQ(arkvale.kv.counters.evicted, 0);
    }
  }
}

TEST(Engine, SmallBudgetEvictsRecallsAndHoldsLess) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  const auto result = Generate(*engine, Request(Novel(6000), "\nThe captain", Kv(KvPolicyKind::kArkvale, 256)));
  EXPECT_EQ(result.kv.steps, result.question_tokens + 15);
  EXPECT_EQ(result.kv.n_tokens, result.prompt_tokens + result.question_tokens + 15);
  EXPECT_GT(result.kv.counters.evicted, 0);
  EXPECT_GT(result.kv.counters.recalled, 0);
  EXPECT_EQ(result.kv.counters.scored_steps, result.kv.steps * 30 * 3) << "30 managed layers of 3 groups";
  EXPECT_LT(result.kv.hot_bytes + result.kv.digest_bytes, result.kv.full_bytes / 2);
  EXPECT_GT(result.decode_ms_median, 0);
  EXPECT_GE(result.decode_ms_p95, result.decode_ms_median);
  EXPECT_GE(result.ttft_ms, result.prefill_ms);
}

TEST(Engine, PrefillChunksDoNotChangeTheAnswer) {
  const KvOptions options[] = {Kv(KvPolicyKind::kArkvale, 256), ZoneKv(256)};
  std::vector<int32_t> ids[2];
  for (const int32_t chunk : {512, 100, 7}) {
    EngineOptions with_chunk = SmolLm2();
    with_chunk.prefill_chunk = chunk;
    const auto engine = Open(with_chunk);
    ASSERT_NE(engine, nullptr);
    for (int i = 0; i < 2; ++i) {
      const auto result = Generate(*engine, Request(Novel(3000), "\nHe said", options[i]));
      if (ids[i].empty()) ids[i] = result.token_ids;
      EXPECT_EQ(result.token_ids, ids[i]) << chunk;
    }
  }
}

TEST(Engine, CancelKeepsWhatWasProduced) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  const auto request = Request(Novel(1000), "", Kv(KvPolicyKind::kArkvale, 256));
  const auto whole = Generate(*engine, request);

  std::atomic<bool> cancel = false;
  GenerateCallbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.on_progress = [&](Stage stage, int64_t done, int64_t) { cancel = stage == Stage::kAnswer && done == 3; };
  GenerateResult partial;
  EXPECT_EQ(engine->Generate(request, callbacks, &partial).status().kind(), StatusKind::kCancelled);
  EXPECT_EQ(partial.stop_reason, "cancelled");
  EXPECT_EQ(partial.token_ids, std::vector(whole.token_ids.begin(), whole.token_ids.begin() + 3));
  EXPECT_TRUE(whole.text.starts_with(partial.text));
  EXPECT_FALSE(partial.text.empty());

  cancel = true;
  EXPECT_EQ(engine->Generate(request, callbacks, &partial).status().kind(), StatusKind::kCancelled);
  EXPECT_TRUE(partial.token_ids.empty());
  EXPECT_EQ(partial.stop_reason, "cancelled");

  EXPECT_EQ(Generate(*engine, request).token_ids, whole.token_ids) << "nothing is left of the cancelled runs";
}

// A limit that holds one sequence but not two: every path must have dropped its sequence, and what is kept for later
// prompts must make room.
TEST(Engine, EveryEndDropsTheSequence) {
  EngineOptions options = SmolLm2();
  options.host_limit_bytes = int64_t{24} << 20;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  auto request = Request(Novel(2500), "", Kv(KvPolicyKind::kFull, 0));
  for (int i = 0; i < 3; ++i) {
    request.context = Novel(7500).substr(2500 * static_cast<size_t>(i), 2500);
    EXPECT_EQ(Generate(*engine, request).stop_reason, "length");
    std::atomic<bool> cancel = false;
    GenerateCallbacks callbacks;
    callbacks.cancel = &cancel;
    callbacks.on_progress = [&](Stage, int64_t, int64_t) { cancel = true; };
    EXPECT_EQ(engine->Generate(request, callbacks).status().kind(), StatusKind::kCancelled);
  }
  request.context = Novel(12000);
  EXPECT_EQ(engine->Generate(request, {}).status().kind(), StatusKind::kResourceExhausted);
  request.context = Novel(2500);
  EXPECT_EQ(Generate(*engine, request).stop_reason, "length");
}

TEST(Engine, RefusesWhatItCannotDo) {
  EngineOptions options = SmolLm2();
  options.ctx_tokens = 64;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  const auto refused = [&](const GenerateRequest& request) {
    const Status status = engine->Generate(request, {}).status();
    EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument) << status.ToString();
    return status.message();
  };
  const KvOptions kv;
  EXPECT_NE(refused(Request("", "Why?", kv)).find("empty"), std::string::npos);
  EXPECT_NE(refused(Request(Novel(1000), "", kv)).find("> limit 64"), std::string::npos);
  EXPECT_NE(refused(Request("ab\xff", "", kv)).find('2'), std::string::npos);
  EXPECT_NE(refused(Request("a", "", Kv(KvPolicyKind::kArkvale, 100))).find("budget 100"), std::string::npos);
  auto request = Request("a", "", kv);
  request.max_tokens = 0;
  EXPECT_NE(refused(request).find("answer of 0"), std::string::npos);
  request = Request("a", "", kv);
  request.sampling.temperature = -1;
  refused(request);

  options.ctx_tokens = 1 << 20;
  EXPECT_EQ(Engine::Open(options).status().kind(), StatusKind::kInvalidArgument);
  options = SmolLm2();
  options.model_path = "/nowhere.gguf";
  EXPECT_EQ(Engine::Open(options).status().kind(), StatusKind::kNotFound);
}

TEST(Engine, AnswerEndsWhereTheContextIsFull) {
  EngineOptions options = SmolLm2();
  options.ctx_tokens = 64;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  auto request = Request("Once upon a time there was", "", Kv(KvPolicyKind::kFull, 0));
  request.max_tokens = 1000;
  const auto result = Generate(*engine, request);
  EXPECT_EQ(result.stop_reason, "length");
  EXPECT_EQ(result.kv.n_tokens, 64);
  EXPECT_EQ(result.prompt_tokens + static_cast<int64_t>(result.token_ids.size()), 65);
}

TEST(Engine, StopStringsEndTheText) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  auto request = Request(Novel(1000), "", Kv(KvPolicyKind::kFull, 0));
  const auto whole = Generate(*engine, request);
  ASSERT_GT(whole.text.size(), 20u);
  request.stop = {whole.text.substr(10, 5)};
  std::string streamed;
  GenerateCallbacks callbacks;
  callbacks.on_text = [&](std::string_view text) { streamed += text; };
  const auto stopped = engine->Generate(request, callbacks);
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->stop_reason, "stop");
  EXPECT_EQ(stopped->text, whole.text.substr(0, whole.text.find(request.stop[0])));
  EXPECT_EQ(streamed, stopped->text);
}

TEST(Engine, ChatWrapsOneTurnAndLeavesItsEndToTheQuestion) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  auto request = Request("The key is 7.", " What is the key?", Kv(KvPolicyKind::kFull, 0));
  const auto raw = Generate(*engine, request);
  request.chat = true;
  const auto chat = Generate(*engine, request);
  EXPECT_GT(chat.prompt_tokens, raw.prompt_tokens);
  EXPECT_GT(chat.question_tokens, raw.question_tokens);
  request.question = " And what else is there to be known?";
  EXPECT_EQ(Generate(*engine, request).prompt_tokens, chat.prompt_tokens) << "stage 1 does not see the question";
  request.question.clear();
  EXPECT_EQ(Generate(*engine, request).question_tokens, 0);

  const auto base = Open(Gemma3());
  ASSERT_NE(base, nullptr);
  EXPECT_FALSE(base->model().has_chat_template);
  EXPECT_EQ(base->Generate(request, {}).status().kind(), StatusKind::kInvalidArgument);
}

TEST(Session, ForkEqualsAFreshRun) {
  auto runtime = Runtime::Load(Gemma3());
  ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
  const auto ids = (*runtime)->tokenizer().Encode(Novel(4000), true, false);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ((*ids)[0], (*runtime)->tokenizer().bos());
  EXPECT_NE((*ids)[1], (*runtime)->tokenizer().bos());
  const auto context = std::span(*ids).first(ids->size() - 8);
  auto dense = Session::Make(**runtime, Kv(KvPolicyKind::kFull, 0));
  ASSERT_TRUE(dense.ok());
  ASSERT_TRUE(dense->Prefill(context, false).ok());
  for (const KvOptions& kv : {Kv(KvPolicyKind::kArkvale, 256), Kv(KvPolicyKind::kArkvale, 512), ZoneKv(512)}) {
    auto fork = dense->Fork(kv);
    auto fresh = Session::Make(**runtime, kv);
    ASSERT_TRUE(fork.ok() && fresh.ok());
    ASSERT_TRUE(fresh->Prefill(context, false).ok());
    for (const int32_t id : std::span(*ids).last(8)) {
      ASSERT_TRUE(fork->Step(id).ok());
      ASSERT_TRUE(fresh->Step(id).ok());
      EXPECT_TRUE(std::equal(fork->logits().begin(), fork->logits().end(), fresh->logits().begin()));
    }
    EXPECT_EQ(fork->stats()->counters.selected_pages, fresh->stats()->counters.selected_pages);
  }
  EXPECT_EQ(dense->n_tokens(), static_cast<int64_t>(context.size())) << "steps of a fork leave its parent alone";
}

}  // namespace
}  // namespace arkvale
