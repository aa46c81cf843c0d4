#include <cmath>
#include <limits>

#include "ggml.h"
#include "ops/quantised_test_util.h"

namespace arkvale {
namespace {

using test::QuantiseRows;

constexpr float kInf = std::numeric_limits<float>::infinity();

// A row's codes, one element at a time, and scales.
struct Codes {
  explicit Codes(const std::vector<float>& x) : codes(x.size()), scales(x.size() / kQuantBlock) {}
  std::vector<int> codes;
  std::vector<f16_t> scales;
};

// The formulas.
Codes CodesQ8(const std::vector<float>& x) {
  Codes row(x);
  for (size_t b = 0; b < row.scales.size(); ++b) {
    float amax = 0;
    for (size_t i = b * kQuantBlock; i < (b + 1) * kQuantBlock; ++i) amax = std::max(amax, std::abs(x[i]));
    const float d = amax / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    for (size_t i = b * kQuantBlock; i < (b + 1) * kQuantBlock; ++i) {
      row.codes[i] = static_cast<int>(std::nearbyint(x[i] * inverse));
    }
    row.scales[b] = F32ToF16(d);
  }
  return row;
}
Codes CodesQ4(const std::vector<float>& x) {
  Codes row(x);
  for (size_t b = 0; b < row.scales.size(); ++b) {
    float largest = 0;
    for (size_t i = b * kQuantBlock; i < (b + 1) * kQuantBlock; ++i) {
      if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
    }
    const float d = largest / -8.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    for (size_t i = b * kQuantBlock; i < (b + 1) * kQuantBlock; ++i) {
      const volatile float quotient = x[i] * inverse;  // rounded: no fused sum
      row.codes[i] = std::min(15, static_cast<int>(quotient + 8.5f));
    }
    row.scales[b] = F32ToF16(d);
  }
  return row;
}

std::vector<std::byte> Reference(DType type, const std::vector<float>& x) {
  const auto n = static_cast<int64_t>(x.size()), code_bytes = type == DType::kQ8 ? n : n / 2;
  std::vector<std::byte> out(DTypeRowBytes(type, n));
  const Codes row = type == DType::kQ8 ? CodesQ8(x) : CodesQ4(x);
  for (int64_t i = 0; i < n; ++i) {
    if (type == DType::kQ8) {
      out[i] = static_cast<std::byte>(row.codes[i]);
    } else {
      out[i / 32 * 16 + i % 16] |= static_cast<std::byte>(row.codes[i] << (i % 32 < 16 ? 0 : 4));
    }
  }
  if (n > 0) std::memcpy(out.data() + code_bytes, row.scales.data(), row.scales.size() * sizeof(f16_t));
  return out;
}

std::vector<float> RandomRow(Rng& rng, int64_t n) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; ++i) {
    if (i % kQuantBlock == 0)
      x[i] = std::pow(2.0f, static_cast<float>(rng.Below(30)) - 20.0f);
    else
      x[i] = rng.Uniform(-1, 1) * std::abs(x[i / kQuantBlock * kQuantBlock]) * 1.5f;
  }
  return x;
}

class ConvertQuantised : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, ConvertQuantised, testing::ValuesIn(test::kQuantTypes), test::QuantTypeName);

TEST_P(ConvertQuantised, EqualsTheFormulaOnEveryTarget) {
  Rng rng("convert_quantised/1");
  for (const int64_t n : {0, 32, 64, 96, 256, 288, 4096}) {
    const std::vector<float> x = RandomRow(rng, n);
    const std::vector<std::byte> want = Reference(GetParam(), x);
    test::ForEachTarget([&] {
      std::vector<std::byte> got(want.size() + 2, std::byte{77});
      ConvertRow(GetParam(), x.data(), got.data() + 1, n);  // at an odd address
      if (n > 0) EXPECT_EQ(std::memcmp(got.data() + 1, want.data(), want.size()), 0) << n;
      EXPECT_EQ(got.front(), std::byte{77});
      EXPECT_EQ(got.back(), std::byte{77}) << "wrote past the end";
    });
  }
}

// The largest magnitude may occur with both signs: the first decides about q4_0's.
TEST_P(ConvertQuantised, EqualsTheFormulaWhereMagnitudesTie) {
  Rng rng("convert_quantised/5");
  for (int round = 0; round < 50; ++round) {
    std::vector<float> x = RandomRow(rng, 32);
    for (const uint64_t i : {rng.Below(32), rng.Below(32), rng.Below(32)}) x[i] = rng.Below(2) == 0 ? 64.0f : -64.0f;
    const std::vector<std::byte> want = Reference(GetParam(), x);
    test::ForEachTarget([&] { EXPECT_EQ(QuantiseRows(GetParam(), std::vector(x).data(), 1, 32), want) << round; });
  }
}

TEST_P(ConvertQuantised, EqualsGgml) {
  Rng rng("convert_quantised/2");
  constexpr int64_t kN = 256;
  const ggml_type type = GetParam() == DType::kQ8 ? GGML_TYPE_Q8_0 : GGML_TYPE_Q4_0;
  const auto code_bytes = static_cast<int64_t>(ggml_row_size(type, kQuantBlock)) - 2;
  for (int round = 0; round < 20; ++round) {
    std::vector<float> x = RandomRow(rng, kN);
    std::fill_n(x.begin() + 64, 32, 0.0f);
    std::vector<std::byte> ggml(ggml_row_size(type, kN));
    ggml_quantize_chunk(type, x.data(), ggml.data(), 0, 1, kN, nullptr);
    std::vector<float> values(kN);
    ggml_get_type_traits(type)->to_float(ggml.data(), values.data(), kN);
    const std::vector<std::byte> ours = QuantiseRows(GetParam(), x.data(), 1, kN);
    EXPECT_EQ(ours.size(), ggml.size());
    EXPECT_EQ(x, values) << "what the rows stand for";
    for (int64_t b = 0; b < kN / kQuantBlock; ++b) {
      const std::byte* block = ggml.data() + b * (2 + code_bytes);
      EXPECT_EQ(std::memcmp(block, &ours[kN / kQuantBlock * code_bytes + 2 * b], 2), 0) << "scale";
      EXPECT_EQ(std::memcmp(block + 2, &ours[b * code_bytes], code_bytes), 0) << b;
    }
  }
}

// Half a step; of q4_0, whose codes end one step earlier on the side that has not the largest magnitude, one there.
TEST_P(ConvertQuantised, ErrorIsHalfAStep) {
  const float steps = GetParam() == DType::kQ8 ? 127 : 8;
  Rng rng("convert_quantised/3");
  std::vector<float> x = test::RandomVector(rng, 640, 5.0f);
  const std::vector<float> before = x;
  QuantiseRows(GetParam(), x.data(), 10, 64);
  for (size_t i = 0; i < x.size(); ++i) {
    float largest = 0;
    for (size_t j = i / kQuantBlock * kQuantBlock, end = j + kQuantBlock; j < end; ++j) {
      if (std::abs(before[j]) > std::abs(largest)) largest = before[j];
    }
    const float d = std::abs(largest) / steps, share = -before[i] / largest;
    const bool beyond = GetParam() == DType::kQ4 && share > 7.5f / 8;
    EXPECT_LE(std::abs(x[i] - before[i]), d * ((beyond ? 1.0f : 0.5f) + steps * 0x1p-11f)) << i;
  }
}

// What attention must not hide: a NaN or an infinity shows in every value of its block, and nowhere else.
TEST_P(ConvertQuantised, ZerosTinyAndUnusableValues) {
  test::ForEachTarget([&] {
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
      for (const int64_t at : {0, 5, 31}) {
        std::vector<float> x(96, 1.0f);
        x[32 + at] = odd;
        QuantiseRows(GetParam(), x.data(), 1, 96);
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
      QuantiseRows(GetParam(), x.data(), 1, 32);
      for (const float y : x) EXPECT_NEAR(y, tiny, 127 * 0x1p-25f);
    }
    // 1 / d is infinite: zeros still have the code of zero.
    std::vector<float> x(32, 0.0f);
    x[0] = 1e-44f;
    const std::vector<std::byte> row = QuantiseRows(GetParam(), x.data(), 1, 32);
    const std::byte zero{static_cast<uint8_t>(GetParam() == DType::kQ8 ? 0 : 0x88)};
    for (size_t i = 1; i < row.size() - 2; ++i) EXPECT_EQ(row[i], zero) << i;
  });
}

TEST(ConvertRow, GoesByType) {
  Rng rng("convert_quantised/4");
  const std::vector<float> x = test::RandomVector(rng, 64, 1.0f);
  std::vector<std::byte> got(128);
  ConvertRow(DType::kF16, x.data(), got.data(), 64);
  std::vector<f16_t> f16(64);
  ConvertF32ToF16(x.data(), f16.data(), 64);
  EXPECT_EQ(std::memcmp(got.data(), f16.data(), 128), 0);
  for (const DType type : test::kQuantTypes) {
    ConvertRow(type, x.data(), got.data(), 64);
    const std::vector<std::byte> want = Reference(type, x);
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size()), 0) << DTypeName(type);
  }
}

}  // namespace
}  // namespace arkvale
