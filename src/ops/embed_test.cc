#include "ops/embed.h"

#include <gtest/gtest.h>

#include "ops/reference_linear.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectInvalid;
using test::ExpectOk;
using test::Matrix;
using test::TestContext;
using test::Weight;

struct Case {
  int32_t type;
  int64_t vocab, cols, n;
  float scale;
};

TEST(EmbedTest, MatchesReference) {
  for (const Case& c : {Case{GGML_TYPE_F32, 3, 5, 4, 1.0f}, Case{GGML_TYPE_F32, 3, 7, 0, 2.0f},
                        Case{GGML_TYPE_F16, 10, 33, 1, 0.5f}, Case{GGML_TYPE_Q8_0, 50, 96, 17, 25.25f},
                        Case{GGML_TYPE_Q6_K, 20, 256, 300, 1.5f}, Case{GGML_TYPE_Q4_1, 7, 64, 600, 1.0f}}) {
    Rng rng("embed");
    Weight table(rng, c.type, c.vocab, c.cols, /*gap_blocks=*/1);
    std::vector<int32_t> ids(c.n);
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.Below(c.vocab));
    const std::vector<double> want = reference::Embed(table.view(), ids, c.scale);
    for (const int threads : {1, 2}) {
      TestContext ctx(threads);
      Matrix out(c.n, c.cols, /*gap=*/2);
      ExpectOk(Embed(ctx, table.view(), ids, c.scale, out.view()));
      EXPECT_TRUE(out.Intact());
      for (int64_t i = 0; i < c.n; ++i) {
        for (int64_t k = 0; k < c.cols; ++k) ASSERT_EQ(out.at(i, k), static_cast<float>(want[i * c.cols + k]));
      }
    }
  }
}

TEST(EmbedTest, RefusesWrongArguments) {
  Rng rng("embed");
  Weight table(rng, GGML_TYPE_F32, 4, 8);
  TestContext ctx(1);
  Matrix out(2, 8), small(1, 8);
  const std::vector<int32_t> good = {0, 3}, high = {0, 4}, low = {-1, 0};
  ExpectInvalid(Embed(ctx, table.view(), high, 1, out.view()), "token id 4 at 1 is outside the vocabulary of 4");
  ExpectInvalid(Embed(ctx, table.view(), low, 1, out.view()), "token id -1 at 0");
  ExpectInvalid(Embed(ctx, table.view(), good, 1, small.view()), "expected [2, 8]");
  WeightView bad = table.view();
  bad.ggml_type = 99;
  ExpectInvalid(Embed(ctx, bad, good, 1, out.view()), "no kernel");
}

}  // namespace
}  // namespace arkvale
