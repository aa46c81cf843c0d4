#include <gtest/gtest.h>

#include <algorithm>

#include "arkvale/chat.h"
#include "engine/engine_test_util.h"
#include "engine/session.h"
#include "engine/transcript.h"
#include "text/chat_template.h"

namespace arkvale {
namespace {

constexpr int32_t kAnswerTokens = 12;

std::unique_ptr<Chat> Start(Engine& engine, const KvOptions& kv, const std::string& system = "") {
  auto chat = engine.StartChat({.system = system, .kv = kv});
  EXPECT_TRUE(chat.ok()) << chat.status().ToString();
  return chat.ok() ? std::move(*chat) : nullptr;
}

GenerateResult Send(Chat& chat, const std::string& text, int32_t max_tokens = kAnswerTokens) {
  const auto result = chat.Send(text, {.max_tokens = max_tokens}, {});
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return result.ok() ? *result : GenerateResult{};
}

StatusKind Fails(Chat& chat, const std::string& text, const TurnOptions& options = {}) {
  return chat.Send(text, options, {}).status().kind();
}

// A turn that Ctrl-C ends after `n` tokens of its answer.
GenerateResult SendCancelled(Chat& chat, const std::string& text, int64_t n) {
  std::atomic<bool> cancel = n == 0;
  GenerateCallbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.on_progress = [&](Stage stage, int64_t done, int64_t) { cancel = stage == Stage::kAnswer && done == n; };
  GenerateResult partial;
  EXPECT_EQ(chat.Send(text, {.max_tokens = kAnswerTokens}, callbacks, &partial).status().kind(),
            StatusKind::kCancelled);
  EXPECT_EQ(partial.stop_reason, "cancelled");
  return partial;
}

// The same conversation by hand: a sequence of its own, fed piece by piece.
class ByHand {
 public:
  explicit ByHand(const KvOptions& kv) {
    auto runtime = Runtime::Load(SmolLm2());
    EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
    runtime_ = std::move(*runtime);
    auto session = Session::Make(*runtime_, kv);
    EXPECT_TRUE(session.ok());
    session_.emplace(std::move(*session));
  }

  // Greedy answer to `question`, at most n tokens.
  std::vector<int32_t> Ask(const std::string& question, size_t n) {
    messages_.push_back({"user", question});
    const auto segments = RenderChat(runtime_->tokenizer().chat_template(), messages_, true);
    EXPECT_TRUE(segments.ok());
    std::vector<int32_t> ids;
    size_t answer = 0;
    for (size_t i = 0; i < segments->size(); ++i) {
      const bool is_answer = (*segments)[i].message >= 0 && (*segments)[i].message % 2 == 1;
      const auto piece = runtime_->tokenizer().EncodeSegments({&(*segments)[i], 1}, i == 0);
      const auto& add = is_answer ? answers_[answer++] : *piece;
      ids.insert(ids.end(), add.begin(), add.end());
    }
    EXPECT_EQ(answer, answers_.size());
    EXPECT_TRUE(session_->Prefill(std::span(ids).subspan(static_cast<size_t>(session_->n_tokens())), true).ok());
    std::vector<int32_t> out;
    for (;;) {
      const auto logits = session_->logits();
      const auto id = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (runtime_->tokenizer().IsEndOfGeneration(id)) break;
      out.push_back(id);
      if (out.size() == n) break;
      EXPECT_TRUE(session_->Step(id).ok());
    }
    return out;
  }

  void Answered(const GenerateResult& result) {
    messages_.push_back({"assistant", result.text});
    answers_.push_back(result.token_ids);
  }

 private:
  std::unique_ptr<Runtime> runtime_;
  std::optional<Session> session_;
  std::vector<ChatMessage> messages_;
  std::vector<std::vector<int32_t>> answers_;
};

TEST(Chat, TurnsEqualTheSameIdsFedByHand) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  for (const auto& kv : {Kv(KvPolicyKind::kFull, 0), Kv(KvPolicyKind::kArkvale, 256), ZoneKv(256)}) {
    const auto chat = Start(*engine, kv);
    ASSERT_NE(chat, nullptr);
    ByHand by_hand(kv);
    const std::string questions[] = {Novel(1500) + "\n\nWho writes this letter?", "To whom?", "Thank you."};
    int64_t in_cache = 0;
    for (const std::string& question : questions) {
      const auto turn = Send(*chat, question);
      if (in_cache > 0) EXPECT_EQ(turn.reused_tokens, in_cache) << "only what is new is prefilled";
      EXPECT_LT(turn.reused_tokens, turn.prompt_tokens);
      EXPECT_EQ(turn.token_ids, by_hand.Ask(question, kAnswerTokens)) << question.substr(0, 20);
      by_hand.Answered(turn);
      in_cache = chat->n_tokens();
      EXPECT_EQ(in_cache, chat->stats()->n_tokens);
    }
  }
}

TEST(Chat, ACancelledAnswerStaysAsFarAsItCame) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  const KvOptions kv = Kv(KvPolicyKind::kArkvale, 256);
  const auto chat = Start(*engine, kv);
  ByHand by_hand(kv);
  const auto whole = by_hand.Ask("Tell me about the sea.", kAnswerTokens);
  const auto partial = SendCancelled(*chat, "Tell me about the sea.", 3);
  EXPECT_EQ(partial.token_ids, std::vector(whole.begin(), whole.begin() + 3));

  ByHand again(kv);
  again.Ask("Tell me about the sea.", 3);
  again.Answered(partial);
  const int64_t in_cache = chat->n_tokens();
  const auto next = Send(*chat, "And the sky?");
  EXPECT_EQ(next.reused_tokens, in_cache);
  EXPECT_EQ(next.token_ids, again.Ask("And the sky?", kAnswerTokens));
}

TEST(Chat, FailuresLeaveTheConversation) {
  EngineOptions options = SmolLm2();
  options.ctx_tokens = 400;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  const KvOptions kv = Kv(KvPolicyKind::kFull, 0);
  const auto calm = Start(*engine, kv), shaken = Start(*engine, kv);
  Send(*calm, "Tell me about the sea.");
  Send(*shaken, "Tell me about the sea.");
  const auto calm_turn = Send(*calm, "And the sky?");

  EXPECT_EQ(Fails(*shaken, ""), StatusKind::kInvalidArgument);
  EXPECT_EQ(Fails(*shaken, "ab\xff"), StatusKind::kInvalidArgument);
  EXPECT_EQ(Fails(*shaken, Novel(4000)), StatusKind::kInvalidArgument);
  EXPECT_EQ(Fails(*shaken, "Why?", {.max_tokens = 0}), StatusKind::kInvalidArgument);
  EXPECT_EQ(Fails(*shaken, "Why?", {.sampling = {.temperature = -1}}), StatusKind::kInvalidArgument);
  SendCancelled(*shaken, "What is never said?", 0);
  // A prefill that was cancelled half way leaves tokens in the cache that the next turn must cut back.
  std::atomic<bool> cancel = false;
  GenerateCallbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.on_progress = [&](Stage, int64_t, int64_t) { cancel = true; };
  EXPECT_EQ(shaken->Send("What else is not said?", {}, callbacks).status().kind(), StatusKind::kCancelled);
  const int64_t surplus = shaken->n_tokens();

  const auto turn = Send(*shaken, "And the sky?");
  EXPECT_EQ(turn.token_ids, calm_turn.token_ids);
  EXPECT_EQ(turn.prompt_tokens, calm_turn.prompt_tokens);
  EXPECT_GT(surplus, turn.reused_tokens);
  EXPECT_GT(turn.reused_tokens, calm_turn.reused_tokens) << "the template's pieces before the question are there";
}

TEST(Chat, AFullContextEndsTheAnswerAndResetBeginsAnew) {
  EngineOptions options = SmolLm2();
  options.ctx_tokens = 80;
  const auto engine = Open(options);
  ASSERT_NE(engine, nullptr);
  const auto chat = Start(*engine, Kv(KvPolicyKind::kFull, 0), "You tell long stories.");
  const auto first = Send(*chat, "Tell me about the sea.", 1000);
  EXPECT_EQ(first.stop_reason, "length");
  EXPECT_EQ(chat->n_tokens(), 80);
  const auto refused = chat->Send("And then?", {}, {}).status();
  EXPECT_EQ(refused.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(refused.message().find("limit 80"), std::string::npos) << refused.message();

  ASSERT_TRUE(chat->Reset().ok());
  EXPECT_EQ(chat->n_tokens(), 0);
  EXPECT_EQ(chat->stats()->n_tokens, 0);
  const auto again = Send(*chat, "Tell me about the sea.", 1000);
  EXPECT_EQ(again.prompt_tokens, first.prompt_tokens) << "the system message stays";
  EXPECT_EQ(again.token_ids, first.token_ids);
}

TEST(Chat, ManyOnOneEngineDoNotDisturbEachOther) {
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  const KvOptions kv_a = Kv(KvPolicyKind::kArkvale, 256), kv_b = Kv(KvPolicyKind::kFull, 0);
  const std::string text = Novel(1500);
  const auto request = Request(text, "\nThe captain", kv_a);
  std::vector<std::vector<int32_t>> alone;
  for (const auto& kv : {kv_a, kv_b}) {
    const auto fresh = Open(SmolLm2());
    const auto chat = Start(*fresh, kv);
    alone.push_back(Send(*chat, text + "\n\nWho writes?").token_ids);
    alone.push_back(Send(*chat, "To whom?").token_ids);
  }
  const auto generated = Generate(*Open(SmolLm2()), request).token_ids;

  const auto a = Start(*engine, kv_a), b = Start(*engine, kv_b);
  EXPECT_EQ(Send(*a, text + "\n\nWho writes?").token_ids, alone[0]);
  EXPECT_EQ(Generate(*engine, request).token_ids, generated);
  const auto shared = Send(*b, text + "\n\nWho writes?");
  EXPECT_EQ(shared.reused_tokens, shared.prompt_tokens - 1) << "the first turn of the other chat";
  EXPECT_EQ(shared.token_ids, alone[2]);
  EXPECT_EQ(Send(*a, "To whom?").token_ids, alone[1]);
  EXPECT_EQ(Generate(*engine, request).token_ids, generated);
  EXPECT_EQ(Send(*b, "To whom?").token_ids, alone[3]);
}

// A template of a thinking model: thoughts of earlier answers are left out.
TEST(Transcript, AnswersKeepTheirIdsUnlessTheTemplateRewritesThem) {
  const auto runtime = Runtime::Load(SmolLm2());
  ASSERT_TRUE(runtime.ok());
  const Tokenizer& tokenizer = (*runtime)->tokenizer();
  const ChatTemplate chat_template = {
      .source = "{% for m in messages %}<|im_start|>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}"};
  const auto encode = [&](const std::string& text, bool special) { return *tokenizer.Encode(text, false, special); };
  // Ids that the tokenizer itself would not choose for the text.
  std::vector<int32_t> spelt = encode("Y", false);
  for (const char* c : {"e", "s"}) spelt.push_back(encode(c, false)[0]);
  ASSERT_NE(spelt, encode("Yes", false));
  for (const auto& [answer, ids] :
       {std::pair{std::string("Yes"), spelt}, std::pair{std::string("<think>Hm</think>Yes"), encode("Yes", false)}}) {
    Transcript transcript(tokenizer, chat_template, "");
    transcript.AddQuestion("Go?");
    transcript.AddAnswer(answer, spelt);
    transcript.AddQuestion("Now?");
    for (int again = 0; again < 2; ++again) {
      const auto rendered = transcript.Render();
      ASSERT_TRUE(rendered.ok()) << rendered.status().ToString();
      std::vector<int32_t> expected = encode("<|im_start|>", true);
      const auto add = [&](const std::vector<int32_t>& more) {
        expected.insert(expected.end(), more.begin(), more.end());
      };
      add(encode("Go?", false));
      add(encode("<|im_end|><|im_start|>", true));
      add(ids);
      add(encode("<|im_end|><|im_start|>", true));
      add(encode("Now?", false));
      add(encode("<|im_end|>", true));
      EXPECT_EQ(*rendered, expected) << answer;
    }
  }
}

TEST(Chat, NeedsATemplateAndOptionsThatFit) {
  const auto base = Open(Gemma3());
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(base->StartChat({}).status().kind(), StatusKind::kInvalidArgument);
  const auto engine = Open(SmolLm2());
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->StartChat({.kv = Kv(KvPolicyKind::kArkvale, 100)}).status().kind(), StatusKind::kInvalidArgument);
  EXPECT_EQ(engine->StartChat({.system = "\xff"}).status().kind(), StatusKind::kInvalidArgument);
}

}  // namespace
}  // namespace arkvale
