// induction_model_test.cc at 128k tokens.
#include "tests/induction_rig.h"

namespace arkvale::testing {
namespace {

TEST(Induction, NoiseHaystackOf128kTokens) { ExpectRetrieval(HaystackKind::kNoise, 131072); }

TEST(Induction, CrowdHaystackOf128kTokens) { ExpectRetrieval(HaystackKind::kCrowd, 131072); }

TEST(Induction, PairsHaystackOf128kTokens) { ExpectRetrieval(HaystackKind::kPairs, 131072); }

}  // namespace
}  // namespace arkvale::testing
