#include <cmath>
#include <limits>

#include "ggml.h"
#include "ops/q8_test_util.h"

namespace arkvale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// The formula, one element at a time.
std::vector<q8_t> Reference(const std::vector<float>& x) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<q8_t> out(RowStride<q8_t>(n));
  for (int64_t b = 0; b < n / kQ8Block; ++b) {
    float amax = 0;
    for (int64_t i = 0; i < kQ8Block; ++i) amax = std::max(amax, std::abs(x[b * kQ8Block + i]));
    const float d = amax / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    for (int64_t i = b * kQ8Block; i < (b + 1) * kQ8Block; ++i) {
      out[i].byte = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
    }
    const f16_t scale = F32ToF16(d);
    std::memcpy(&out[n + b * 2], &scale, sizeof(scale));
  }
  return out;
}

std::vector<float> RandomRow(Rng& rng, int64_t n) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; ++i) {
    if (i % kQ8Block == 0)
      x[i] = std::pow(2.0f, static_cast<float>(rng.Below(30)) - 20.0f);
    else
      x[i] = rng.Uniform(-1, 1) * std::abs(x[i / kQ8Block * kQ8Block]) * 1.5f;
  }
  return x;
}

TEST(ConvertQ8, EqualsTheFormulaOnEveryTarget) {
  Rng rng("convert_q8/1");
  for (const int64_t n : {0, 32, 64, 96, 256, 288}) {
    const std::vector<float> x = RandomRow(rng, n);
    const std::vector<q8_t> want = Reference(x);
    test::ForEachTarget([&] {
      std::vector<q8_t> got(want.size() + 2, q8_t{77});
      ConvertF32ToQ8(x.data(), got.data() + 1, n);  // at an odd address
      if (n > 0) EXPECT_EQ(std::memcmp(got.data() + 1, want.data(), want.size()), 0) << n;
      EXPECT_EQ(got.front().byte, 77);
      EXPECT_EQ(got.back().byte, 77) << "wrote past the end";
    });
  }
}

TEST(ConvertQ8, EqualsGgml) {
  Rng rng("convert_q8/2");
  constexpr int64_t kN = 256;
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> x = RandomRow(rng, kN);
    std::vector<uint8_t> ggml(ggml_row_size(GGML_TYPE_Q8_0, kN));
    ggml_quantize_chunk(GGML_TYPE_Q8_0, x.data(), ggml.data(), 0, 1, kN, nullptr);
    std::vector<q8_t> ours(RowStride<q8_t>(kN));
    ConvertF32ToQ8(x.data(), ours.data(), kN);
    for (int64_t b = 0; b < kN / kQ8Block; ++b) {
      const uint8_t* block = ggml.data() + b * (2 + kQ8Block);
      EXPECT_EQ(std::memcmp(block, &ours[kN + 2 * b], 2), 0) << "scale";
      for (int64_t i = 0; i < kQ8Block; ++i) {
        EXPECT_EQ(static_cast<int8_t>(block[2 + i]), ours[b * kQ8Block + i].byte) << b << " " << i;
      }
    }
  }
}

TEST(ConvertQ8, ErrorIsHalfAStep) {
  Rng rng("convert_q8/3");
  std::vector<float> x = test::RandomVector(rng, 640, 5.0f);
  const std::vector<float> before = x;
  test::QuantiseRows(x.data(), 10, 64);
  for (size_t i = 0; i < x.size(); ++i) {
    float amax = 0;
    for (size_t j = i / kQ8Block * kQ8Block, end = j + kQ8Block; j < end; ++j)
      amax = std::max(amax, std::abs(before[j]));
    EXPECT_LE(std::abs(x[i] - before[i]), amax / 127 * (0.5f + 127 * 0x1p-11f)) << i;
  }
}

// What attention must not hide: a NaN or an infinity shows in every value of its block, and nowhere else.
TEST(ConvertQ8, ZerosTinyAndUnusableValues) {
  test::ForEachTarget([&] {
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
      for (const int64_t at : {0, 5, 31}) {
        std::vector<float> x(96, 1.0f);
        x[32 + at] = odd;
        test::QuantiseRows(x.data(), 1, 96);
        for (int64_t i = 0; i < 96; ++i) {
          if (i < 32 || i >= 64)
            EXPECT_NEAR(x[i], 1, 1e-3) << i;
          else
            EXPECT_TRUE(std::isnan(x[i])) << i;
        }
      }
    }
    for (const float tiny : {0.0f, -0.0f, 1e-44f, 1e-38f, 1e-9f}) {
      std::vector<float> x(32, tiny);
      test::QuantiseRows(x.data(), 1, 32);
      for (const float y : x) EXPECT_NEAR(y, tiny, 127 * 0x1p-25f);
    }
  });
}

TEST(ConvertRow, GoesByType) {
  Rng rng("convert_q8/4");
  const std::vector<float> x = test::RandomVector(rng, 64, 1.0f);
  std::vector<std::byte> got(128);
  ConvertRow(DType::kF16, x.data(), got.data(), 64);
  std::vector<f16_t> f16(64);
  ConvertF32ToF16(x.data(), f16.data(), 64);
  EXPECT_EQ(std::memcmp(got.data(), f16.data(), 128), 0);
  ConvertRow(DType::kQ8, x.data(), got.data(), 64);
  EXPECT_EQ(std::memcmp(got.data(), Reference(x).data(), 68), 0);
}

}  // namespace
}  // namespace arkvale
