#include "ops/merge_state.h"

#include "ops/attention_test_util.h"
#include "ops/reference_attention.h"

namespace arkvale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(MergeState, EqualsAttentionOverTheUnion) {
  for (const float spread : {1.0f, 30.0f}) {
    test::FakeCache cache({.page_tokens = 16, .dk = 64, .dv = 40}, {test::DenseRow(100, 16)}, 7, spread);
    const std::vector<float> q = test::RandomVector(cache.rng(), 64, spread);
    const auto whole = reference::Attend(cache.kv(), 0, 0, q.data(), 0.125);
    for (const int64_t cut : {1, 40, 99}) {
      const auto a = reference::Attend(cache.kv(), 0, 0, q.data(), 0.125, 0, cut - 1);
      const auto b = reference::Attend(cache.kv(), 0, 0, q.data(), 0.125, cut, 99);
      std::vector<float> out(a.out.begin(), a.out.end());
      const std::vector<float> out_b(b.out.begin(), b.out.end());
      auto lse = static_cast<float>(a.lse);
      const auto lse_b = static_cast<float>(b.lse);
      MergeState(1, 40, out.data(), &lse, out_b.data(), &lse_b);
      const double error = 3e-7 * (2 + std::abs(whole.lse));  // of the lse as f32
      EXPECT_NEAR(lse, whole.lse, error);
      for (int t = 0; t < 40; ++t) EXPECT_NEAR(out[t], whole.out[t], error);
    }
  }
}

TEST(MergeState, EmptySidesChangeNothing) {
  std::vector<float> out = {1, 2, 0, 0, 0, 0}, lse = {3, -kInf, -kInf};
  const std::vector<float> out_b = {NAN, NAN, 5, 6, 0, 0}, lse_b = {-kInf, 7, -kInf};
  MergeState(3, 2, out.data(), lse.data(), out_b.data(), lse_b.data());
  EXPECT_EQ(out, (std::vector<float>{1, 2, 5, 6, 0, 0}));
  EXPECT_EQ(lse, (std::vector<float>{3, 7, -kInf}));
}

TEST(MergeState, FarApartScoresStayFinite) {
  std::vector<float> out = {1}, lse = {-3000};
  const std::vector<float> out_b = {2}, lse_b = {3000};
  MergeState(1, 1, out.data(), lse.data(), out_b.data(), lse_b.data());
  EXPECT_EQ(out[0], 2);
  EXPECT_EQ(lse[0], 3000);
}

}  // namespace
}  // namespace arkvale
