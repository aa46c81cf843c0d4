// The induction model against llama.cpp, and exact retrieval at 32k tokens under every digest. The table:
//   tests_model_test --gtest_filter='Induction.*'     32k tokens
//   tests_slow_test --gtest_filter='Induction.*'      128k tokens (induction_slow_test.cc)
#include "tests/induction_rig.h"
#include "tests/llama_oracle.h"

namespace arkvale::testing {
namespace {

TEST(Induction, LlamaCppAgreesAndContinuesTheText) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  const Haystack hay = MakeHaystack(HaystackKind::kPairs, 0, 1500);
  const Needle& needle = hay.needles[7];
  std::vector<int32_t> ids = ByteIds(hay.text + needle.key + needle.value);
  auto oracle = *LlamaOracle::Load(rig.path(), 2);
  const size_t from = ids.size() - 5, n_vocab = static_cast<size_t>(oracle->n_vocab());
  const auto theirs = oracle->Logits(ids, from);
  ASSERT_TRUE(theirs.ok()) << theirs.status().ToString();
  KvOptions full;
  full.policy = KvPolicyKind::kFull;
  Session session = rig.Prefill(hay.text + needle.key.substr(0, 3));
  std::vector<float> ours;
  for (size_t i = from; i < ids.size(); ++i) {
    ASSERT_TRUE(session.Step(ids[i]).ok());
    ours.insert(ours.end(), session.logits().begin(), session.logits().end());
  }
  const double kl = MeanKl(*theirs, ours, n_vocab);
  std::printf("induction model: mean KL(llama.cpp || arkvale) = %.3g nats\n", kl);
  EXPECT_LE(kl, 1e-4);
  const std::string answer = needle.value + " ";
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(ArgMax(Row(*theirs, i, n_vocab)), answer[i]) << i;
    EXPECT_EQ(ArgMax(Row(ours, i, n_vocab)), answer[i]) << i;
    EXPECT_GT(TopGap(Row(ours, i, n_vocab)), 15.0f) << "of 20 by construction";
  }
}

TEST(Induction, NoiseHaystackOf32kTokens) { ExpectRetrieval(HaystackKind::kNoise, 32768); }

TEST(Induction, CrowdHaystackOf32kTokens) { ExpectRetrieval(HaystackKind::kCrowd, 32768); }

TEST(Induction, PairsHaystackOf32kTokens) { ExpectRetrieval(HaystackKind::kPairs, 32768); }

// The same selections twice: reading only what was selected fails where the needle's page was not, reading the rest too
// finds everything. So nothing but the selection of pages lets the model find a needle.
TEST(Induction, WhatIsNotSelectedIsNotFound) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  const Haystack hay = MakeHaystack(HaystackKind::kPairs, 0, 8192);
  const Session context = rig.Prefill(hay.text);
  KvOptions options;
  options.budget_tokens = 512;
  options.digest = DigestKind::kCuboidMean;
  EXPECT_LE(InductionRig::Retrieved(context, options, hay.needles), kNeedles / 2);
  options.attend = AttendKind::kAll;
  EXPECT_EQ(InductionRig::Retrieved(context, options, hay.needles), kNeedles);
}

}  // namespace
}  // namespace arkvale::testing
