// induction_model_test.cc at 128k tokens.
#include "tests/induction_rig.h"

namespace arkvale::testing {
namespace {

TEST(Induction, NoiseHaystackOf128kTokens) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  ExpectRetrieval(RetrievalTable(rig, HaystackKind::kNoise, 131072), HaystackKind::kNoise);
}

TEST(Induction, CrowdHaystackOf128kTokens) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  ExpectRetrieval(RetrievalTable(rig, HaystackKind::kCrowd, 131072), HaystackKind::kCrowd);
}

TEST(Induction, PairsHaystackOf128kTokens) {
  InductionRig rig;
  ASSERT_TRUE(rig.ok());
  ExpectRetrieval(RetrievalTable(rig, HaystackKind::kPairs, 131072), HaystackKind::kPairs);
}

}  // namespace
}  // namespace arkvale::testing
