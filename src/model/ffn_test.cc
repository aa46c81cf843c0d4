#include "model/ffn.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "ops/op_table.h"

namespace arkvale {
namespace {

constexpr int64_t kRows = 9, kModel = 40, kFf = 24;

std::vector<float> Random(const char* seed, int64_t n) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = rng.Uniform(-1, 1);
  return values;
}

WeightView View(const std::vector<float>& values, int64_t cols) {
  return {values.data(), 0, static_cast<int64_t>(values.size()) / cols, cols, cols * int64_t{sizeof(float)}};
}

class FfnTest : public ::testing::TestWithParam<bool> {
 protected:
  FfnTest() {
    rows_.Add(4, MatmulPath::kTiles);
    rows_.Add(1, MatmulPath::kRows);
    rows_.Add(4, MatmulPath::kTiles);
    w_.gate.weight = View(gate_, kModel);
    w_.up.weight = View(up_, kModel);
    w_.down.weight = View(down_, kFf);
    w_.router.weight = View(router_, kModel);
  }

  std::vector<float> Run(const ModelConfig& config, const RowSet& rows, int64_t first) {
    Ffn ffn;
    ffn.Reserve(config, kRows);
    std::vector<float> out = Random("out", kRows * kModel);
    const MatrixView x{x_.data() + first * kModel, rows.n, kModel, kModel};
    const MatrixView y{out.data() + first * kModel, rows.n, kModel, kModel};
    const Status status = ffn.Run(ctx_, config, rows, w_, x, y, /*add=*/GetParam());
    EXPECT_TRUE(status.ok()) << status.ToString();
    return {out.begin() + first * kModel, out.begin() + (first + rows.n) * kModel};
  }

  std::vector<float> x_ = Random("x", kRows*kModel), gate_ = Random("gate", kFf*kModel);
  std::vector<float> up_ = Random("up", kFf*kModel), down_ = Random("down", kFf*kModel);
  std::vector<float> router_ = Random("router", 4 * kModel);
  LayerWeights w_;
  RowSet rows_;
  ThreadPool pool_{2};
  Workspace workspace_{2};
  OpContext ctx_{&CpuOps(), &pool_, &workspace_};
};
INSTANTIATE_TEST_SUITE_P(Add, FfnTest, ::testing::Bool());

// Each row on the path of its span, the only expert at weight 1: the same operations in the same order.
TEST_P(FfnTest, OneExpertIsADenseFfnBitForBit) {
  ModelConfig dense, one;
  dense.d_model = one.d_model = kModel;
  dense.d_ff = one.d_ff_expert = kFf;
  one.n_experts = one.n_experts_used = 1;
  w_.router.weight = RowSlice(w_.router.weight, 0, 1);
  EXPECT_EQ(Run(one, rows_, 0), Run(dense, rows_, 0));
}

TEST_P(FfnTest, ARowDoesNotDependOnOthers) {
  ModelConfig c;
  c.d_model = kModel;
  c.n_experts = 4;
  c.n_experts_used = 2;
  c.d_ff_expert = kFf / 4;
  w_.down.weight = View(down_, c.d_ff_expert);  // [4 * d_model, d_ff_expert]
  const auto all = Run(c, rows_, 0);
  for (int64_t i = 0; i < kRows; ++i) {
    RowSet one;
    one.Add(1, i == 4 ? MatmulPath::kRows : MatmulPath::kTiles);
    EXPECT_EQ(Run(c, one, i), std::vector<float>(all.begin() + i * kModel, all.begin() + (i + 1) * kModel)) << i;
  }
}

}  // namespace
}  // namespace arkvale
