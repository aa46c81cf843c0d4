#include "ops/value_codes.h"

#include <algorithm>

// clang-format off
#include "ops/test_util.h"  // before hwy
#include "ops/quantised_test_util.h"
#include "ops/zone_test_util.h"
// clang-format on

namespace arkvale {
namespace {

using test::CodedPages;
using test::Machine;
using test::Stored;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Shape {
  int32_t bits, p, d;
};
constexpr Shape kShapes[] = {{2, 8, 8},   {4, 8, 8},    {2, 32, 64}, {4, 32, 64},  {2, 16, 40}, {4, 24, 80},
                             {2, 64, 16}, {4, 16, 128}, {2, 8, 256}, {4, 128, 32}, {2, 40, 24}, {4, 32, 96}};

class ValueCodes : public test::EveryTarget {
 protected:
  Machine machine_{2};
};
INSTANTIATE_TEST_SUITE_P(Simd, ValueCodes, test::EveryTarget::Values(), test::EveryTarget::Name);

// lo and st to the bit; codes too but where a value lies half way between two of them, where f32 may round either way.
void ExpectCodes(const CodedPages& got, const Stored& values) {
  const int64_t d = got.d, size = int64_t{got.p} * d;
  for (int64_t page = 0; page < got.n_pages; ++page) {
    const auto exact = values.Slice(page * size, size);
    const auto want = reference::CodeValues(got.bits, exact, d), have = got.Read(page);
    for (int64_t i = 0; i < got.p; ++i) {
      const bool is_nan = std::isnan(want.lo[i]);
      ASSERT_TRUE(is_nan ? std::isnan(have.lo[i]) : have.lo[i] == want.lo[i]) << page << " " << i;
      ASSERT_EQ(have.st[i], want.st[i]) << page << " " << i;
    }
    for (int64_t i = 0; i < size; ++i) {
      if (have.codes[i] == want.codes[i]) continue;
      const double lo = want.lo[i / d], st = want.st[i / d];
      ASSERT_EQ(std::abs(have.codes[i] - want.codes[i]), 1) << i;
      ASSERT_NEAR((exact[i] - lo) / st, (have.codes[i] + want.codes[i]) / 2.0, 0x1p-20 * (1 << got.bits)) << i;
    }
  }
}

TEST_P(ValueCodes, MatchReference) {
  for (const auto [bits, p, d] : kShapes) {
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      for (const float spread : {1.0f, 3e-6f, 6e4f}) {
        SCOPED_TRACE(std::to_string(bits) + " bits p " + std::to_string(p) + " d " + std::to_string(d));
        Rng rng(uint64_t{71});
        const Stored values(dtype, test::RandomVector(rng, int64_t{3} * p * d, spread));
        ExpectCodes(CodedPages(machine_.ctx, bits, p, d, values), values);
      }
    }
  }
}

// Two tokens of eight dimensions; the other tokens are 0.
TEST_P(ValueCodes, WorkedExample) {
  std::vector<float> v(64, 0.0f);
  const float first[] = {2, 0, 1, -1, -1, 0.4f, 0.6f, 2}, second[] = {5, 5, 5, 5, 5, 5, 5, 8};
  std::copy(first, first + 8, v.begin());
  std::copy(second, second + 8, v.begin() + 8);
  const auto two = CodedPages(machine_.ctx, 2, 8, 8, Stored(DType::kF16, v));
  const auto coded = two.Read(0);
  EXPECT_EQ(coded.lo, (std::vector<double>{-1, 5, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(coded.st, (std::vector<double>{1, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(std::vector<int>(coded.codes.begin(), coded.codes.begin() + 16),
            (std::vector<int>{3, 1, 2, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 3}));
  // 8 tokens of f16 lo and st, then two bytes for each of 32 dimensions; token 0 and 1 have the low bits.
  ASSERT_EQ(two.bytes.size(), 32u + 64u);
  EXPECT_EQ(two.bytes[32 + 2 * 2], std::byte{2});
  EXPECT_EQ(two.bytes[32 + 2 * 7], std::byte{3});
  EXPECT_EQ(two.bytes[32 + 2 * 7 + 1], std::byte{3});
  for (size_t i = 32 + 16; i < two.bytes.size(); ++i) EXPECT_EQ(two.bytes[i], std::byte{0}) << "padding " << i;
}

TEST_P(ValueCodes, AreWithinHalfAStepAndTheRoundings) {
  for (const auto [bits, p, d] : kShapes) {
    Rng rng(uint64_t{73});
    const Stored values(DType::kF16, test::RandomVector(rng, int64_t{p} * d, 5.0f));
    const CodedPages coded(machine_.ctx, bits, p, d, values);
    const auto steps = coded.Read(0);
    const auto read = reference::CodedValues(steps, d);
    for (size_t i = 0; i < read.size(); ++i) {
      const double lo = steps.lo[i / d], st = steps.st[i / d];
      const double rounding = 0x1p-11 * (std::abs(lo) + ((1 << bits) - 1) * st) * 1.001;
      ASSERT_NEAR(read[i], values.at(static_cast<int64_t>(i)), st / 2 + rounding) << i;
    }
  }
}

TEST_P(ValueCodes, ConstantTinyHugeAndWrongValues) {
  constexpr int32_t kDim = 40;
  std::vector<float> v(8 * kDim, 0.0f);
  const auto token = [&](int i) { return v.data() + i * kDim; };
  Rng rng(uint64_t{79});
  std::fill(token(0), token(1), -3.14f);                                              // constant: st = 0
  for (int t = 0; t < kDim; ++t) token(1)[t] = t % 2 == 0 ? 0x1p-26f : 0.0f;          // st rounds to 0
  for (int t = 0; t < kDim; ++t) token(2)[t] = static_cast<float>(t % 4) * 0x1p-24f;  // st is f16's smallest
  for (int t = 0; t < kDim; ++t) token(3)[t] = 3e38f * rng.Uniform(-1, 1);
  std::fill(token(4), token(5), 1e30f);
  token(5)[39] = NAN;
  token(6)[0] = kInf;
  token(7)[20] = -kInf;
  const Stored values(DType::kF32, v);
  for (const int bits : {2, 4}) {
    const CodedPages coded(machine_.ctx, bits, 8, kDim, values);
    ExpectCodes(coded, values);
    const auto read = coded.Read(0);
    EXPECT_EQ(read.st[0], 0);
    EXPECT_EQ(read.st[1], 0);
    EXPECT_EQ(read.lo[3], -65504);
    EXPECT_EQ(read.st[3], 65504);
    EXPECT_EQ(read.lo[4], 65504);
    for (int i = 5; i < 8; ++i) EXPECT_TRUE(std::isnan(read.lo[i])) << i;
  }
  const auto read = CodedPages(machine_.ctx, 2, 8, kDim, values).Read(0);
  EXPECT_EQ(read.st[2], 0x1p-24);
  for (int t = 0; t < kDim; ++t) EXPECT_EQ(read.codes[2 * kDim + t], t % 4);
}

TEST_P(ValueCodes, OfQuantisedRowsAreThoseOfTheValuesTheyStandFor) {
  for (const DType type : test::kQuantTypes) {
    for (const int32_t d : {32, 64, 160}) {
      for (const int bits : {2, 4}) {
        Rng rng(uint64_t{83});
        std::vector<float> values = test::RandomVector(rng, int64_t{16} * d, 2.0f);
        const std::vector<std::byte> rows = test::QuantiseRows(type, values.data(), 16, d);
        const CodedPages want(machine_.ctx, bits, 16, d, Stored(DType::kF32, values));
        std::vector<std::byte> got(want.bytes.size());
        const ValueCodeItem items[] = {{rows.data(), got.data()}};
        ASSERT_TRUE(ValueCodesBuild(machine_.ctx, {type, bits, 16, d, items}).ok());
        EXPECT_EQ(got, want.bytes) << DTypeName(type) << " " << d << " " << bits;
      }
    }
  }
}

TEST_P(ValueCodes, BitsDoNotDependOnThreadsOrOtherPages) {
  Machine one(1), three(3);
  Rng rng(uint64_t{89});
  const std::vector<float> values = test::RandomVector(rng, int64_t{9} * 8 * 40, 2.0f);
  const CodedPages all(one.ctx, 2, 8, 40, Stored(DType::kF16, values));
  EXPECT_EQ(all.bytes, CodedPages(three.ctx, 2, 8, 40, Stored(DType::kF16, values)).bytes);
  const CodedPages last(machine_.ctx, 2, 8, 40, Stored(DType::kF16, {values.end() - 8 * 40, values.end()}));
  EXPECT_TRUE(std::equal(last.bytes.begin(), last.bytes.end(), all.bytes.end() - last.layout.page_bytes));
}

TEST(ValueCodesArguments, AreChecked) {
  Machine machine(1);
  test::ExpectInvalid(MakeValueCodeLayout(3, 32, 64).status(), "3 bits per value, must be 2 or 4");
  test::ExpectInvalid(MakeValueCodeLayout(8, 32, 64).status(), "8 bits");
  test::ExpectInvalid(MakeValueCodeLayout(2, 12, 64).status(), "page of 12 tokens, head dim 64");
  test::ExpectInvalid(MakeValueCodeLayout(2, 0, 64).status(), "page of 0 tokens");
  test::ExpectInvalid(MakeValueCodeLayout(2, 32, 20).status(), "head dim 20");
  test::ExpectInvalid(MakeValueCodeLayout(2, 32, -8).status(), "head dim -8");
  EXPECT_EQ(MakeValueCodeLayout(2, 32, 64)->page_bytes, 32 * 20);
  EXPECT_EQ(MakeValueCodeLayout(4, 32, 64)->page_bytes, 32 * 36);
  EXPECT_EQ(MakeValueCodeLayout(2, 8, 40)->page_bytes, 8 * (4 + 16));
  std::vector<float> v(64);
  std::vector<std::byte> codes(256);
  const ValueCodeItem good[] = {{v.data(), codes.data()}}, no_values[] = {{nullptr, codes.data()}},
                      no_codes[] = {{v.data(), nullptr}};
  ASSERT_TRUE(ValueCodesBuild(machine.ctx, {DType::kF32, 2, 8, 8, good}).ok());
  ASSERT_TRUE(ValueCodesBuild(machine.ctx, {DType::kF32, 2, 8, 8, {}}).ok());
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kF32, 2, 8, 8, no_values}), "item 0: null values or codes");
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kF32, 2, 8, 8, no_codes}), "item 0: null values or codes");
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kI32, 2, 8, 8, good}), "values of i32");
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kQ8, 2, 8, 40, good}), "q8_0 with head dim 40");
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kQ4, 2, 8, 40, good}), "q4_0 with head dim 40");
  test::ExpectInvalid(ValueCodesBuild(machine.ctx, {DType::kF32, 5, 8, 8, good}), "5 bits");
}

}  // namespace
}  // namespace arkvale
