// K and V in 8 bits on real models.
#include "engine/engine_test_util.h"

namespace arkvale {
namespace {

EngineOptions InQ8(EngineOptions options) {
  options.kv_type = KvType::kQ8;
  return options;
}

TEST(KvTypeQ8, AnswersInAboutHalfTheBytes) {
  const std::string text = Novel(2500);
  for (const EngineOptions& options : {SmolLm2(), Gemma3()}) {
    const auto f16 = Open(options), q8 = Open(InQ8(options));
    ASSERT_TRUE(f16 != nullptr && q8 != nullptr);
    EXPECT_EQ(q8->kv_type(), KvType::kQ8);
    for (const KvPolicyKind policy : {KvPolicyKind::kFull, KvPolicyKind::kArkvale}) {
      const GenerateRequest request = Request(text, " What happened?", Kv(policy, 256));
      const GenerateResult wide = Generate(*f16, request), narrow = Generate(*q8, request);
      EXPECT_FALSE(narrow.text.empty());
      EXPECT_EQ(narrow.prompt_tokens, wide.prompt_tokens);
      if (narrow.kv.n_tokens == wide.kv.n_tokens) EXPECT_EQ(narrow.kv.full_bytes * 32, wide.kv.full_bytes * 17);
      if (policy == KvPolicyKind::kFull) EXPECT_EQ(narrow.kv.hot_bytes, narrow.kv.full_bytes);
      EXPECT_GT(narrow.kv.full_bytes, 0);
    }
  }
}

TEST(KvTypeQ8, ABudgetForEverythingAndEveryChunkGiveTheSameAnswer) {
  const std::string text = Novel(2000);
  EngineOptions options = InQ8(SmolLm2());
  options.kept_sequences = 0;
  const auto engine = Open(options);
  options.prefill_chunk = 100;
  const auto chunked = Open(options);
  ASSERT_TRUE(engine != nullptr && chunked != nullptr);
  const auto full = Generate(*engine, Request(text, " And then?", Kv(KvPolicyKind::kFull, 0)));
  const auto all = Generate(*engine, Request(text, " And then?", Kv(KvPolicyKind::kArkvale, 4096)));
  const auto pieces = Generate(*chunked, Request(text, " And then?", Kv(KvPolicyKind::kFull, 0)));
  EXPECT_EQ(all.token_ids, full.token_ids);
  EXPECT_EQ(pieces.token_ids, full.token_ids);
}

}  // namespace
}  // namespace arkvale
