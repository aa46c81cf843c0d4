#include "ops/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/f16.h"
#include "base/rng.h"

namespace arkvale {
namespace {

TEST(Convert, EqualsScalarConversionAtEveryLengthAndScale) {
  Rng rng("convert/1");
  for (const int64_t n : {0, 1, 7, 16, 33, 200}) {
    std::vector<float> x(n);
    for (float& v : x) v = rng.Uniform(-1, 1) * std::pow(2.0f, static_cast<float>(rng.Below(40)) - 26.0f);
    std::vector<f16_t> y(n + 1, 0x1234);
    ConvertF32ToF16(x.data(), y.data(), n);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(y[i], F32ToF16(x[i])) << x[i];
    EXPECT_EQ(y[n], 0x1234) << "wrote past the end";
  }
}

TEST(Convert, ScalarRoundTripOfEveryFiniteHalf) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    if ((h & 0x7c00u) == 0x7c00u) continue;
    EXPECT_EQ(F32ToF16(F16ToF32(static_cast<f16_t>(h))), h);
  }
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);  // rounds to infinity
  EXPECT_EQ(F32ToF16(65519.0f), 0x7bff);
  EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace arkvale
