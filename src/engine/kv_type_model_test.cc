// Quantised K and V on real models.
#include "engine/engine_test_util.h"

namespace arkvale {
namespace {

class QuantisedKvType : public testing::TestWithParam<KvType> {
 protected:
  static EngineOptions Typed(EngineOptions options) {
    options.kv_type = GetParam();
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(, QuantisedKvType, testing::Values(KvType::kQ8, KvType::kQ4),
                         [](const auto& info) { return std::string(KvTypeName(info.param)); });

TEST_P(QuantisedKvType, AnswersInItsShareOfTheBytes) {
  const int64_t block_bytes = GetParam() == KvType::kQ8 ? 34 : 18;  // for 64
  const std::string text = Novel(2500);
  for (const EngineOptions& options : {SmolLm2(), Gemma3()}) {
    const auto f16 = Open(options), typed = Open(Typed(options));
    ASSERT_TRUE(f16 != nullptr && typed != nullptr);
    EXPECT_EQ(typed->kv_type(), GetParam());
    for (const KvPolicyKind policy : {KvPolicyKind::kFull, KvPolicyKind::kArkvale}) {
      const GenerateRequest request = Request(text, " What happened?", Kv(policy, 256));
      const GenerateResult wide = Generate(*f16, request), narrow = Generate(*typed, request);
      EXPECT_FALSE(narrow.text.empty());
      EXPECT_EQ(narrow.prompt_tokens, wide.prompt_tokens);
      if (narrow.kv.n_tokens == wide.kv.n_tokens) {
        EXPECT_EQ(narrow.kv.full_bytes * 64, wide.kv.full_bytes * block_bytes);
      }
      if (policy == KvPolicyKind::kFull) EXPECT_EQ(narrow.kv.hot_bytes, narrow.kv.full_bytes);
      EXPECT_GT(narrow.kv.full_bytes, 0);
    }
  }
}

TEST_P(QuantisedKvType, ABudgetForEverythingAndEveryChunkGiveTheSameAnswer) {
  const std::string text = Novel(2000);
  EngineOptions options = Typed(SmolLm2());
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
