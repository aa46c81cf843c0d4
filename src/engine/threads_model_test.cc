// Answers of real models do not depend on how many threads compute them, not by a bit.
#include <vector>

#include "engine/engine_test_util.h"
#include "engine/session.h"

namespace arkvale {
namespace {

// Logits after a prefill, and after each of some steps under full attention and under a budget that most of it exceeds.
std::vector<float> AllLogits(EngineOptions options, int32_t threads) {
  options.threads = threads;
  auto runtime = Runtime::Load(options);
  EXPECT_TRUE(runtime.ok()) << runtime.status().ToString();
  if (!runtime.ok()) return {};
  const auto ids = (*runtime)->tokenizer().Encode(Novel(3000), true, false);
  const auto more = (*runtime)->tokenizer().Encode("The captain said that he", false, false);
  std::vector<float> all;
  const auto keep = [&](const Session& s) { all.insert(all.end(), s.logits().begin(), s.logits().end()); };
  auto context = Session::Make(**runtime, Kv(KvPolicyKind::kFull, 0));
  EXPECT_TRUE(context.ok() && context->Prefill(*ids, true).ok());
  keep(*context);
  for (const DigestKind digest : {DigestKind::kCuboidMean, DigestKind::kCode2}) {
    KvOptions kv = Kv(KvPolicyKind::kArkvale, 256);
    kv.digest = digest;
    for (const KvOptions& options_of_fork : {Kv(KvPolicyKind::kFull, 0), kv}) {
      auto session = context->Fork(options_of_fork);
      EXPECT_TRUE(session.ok());
      for (const int32_t id : *more) {
        EXPECT_TRUE(session->Step(id).ok());
        keep(*session);
      }
    }
  }
  return all;
}

TEST(Threads, DoNotChangeABitOfAnyLogit) {
  for (const EngineOptions& options : {SmolLm2(), Gemma3()}) {
    const std::vector<float> one = AllLogits(options, 1);
    ASSERT_FALSE(one.empty());
    for (const int32_t threads : {2, 3}) EXPECT_TRUE(AllLogits(options, threads) == one) << threads << " threads";
  }
}

}  // namespace
}  // namespace arkvale
