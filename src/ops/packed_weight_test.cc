#include "ops/packed_weight.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/f16.h"
#include "ops/packed_test_util.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::kPackedTypes;
using test::Packed;
using test::Weight;

// The layout as packed_weight.h tells it, read one number at a time.
class Reader {
 public:
  explicit Reader(const WeightView& packed) : view_(packed) {
    switch (packed.ggml_type) {
      case GGML_TYPE_Q4_0: Set(32, 1, 0, 4, 8); break;
      case GGML_TYPE_Q4_1: Set(32, 2, 0, 4, 0); break;
      case GGML_TYPE_Q5_0: Set(32, 1, 0, 5, 16); break;
      case GGML_TYPE_Q5_1: Set(32, 2, 0, 5, 0); break;
      case GGML_TYPE_Q8_0: Set(32, 1, 0, 8, 128); break;
      case GGML_TYPE_Q4_K: Set(256, 2, 16, 4, 0); break;
      case GGML_TYPE_Q5_K: Set(256, 2, 16, 5, 0); break;
      case GGML_TYPE_Q6_K: Set(256, 1, 16, 6, 32); break;
      default: ADD_FAILURE();
    }
  }

  int64_t group_bytes() const { return view_.cols / span_cols_ * SpanBytes(); }

  double Value(int64_t row, int64_t col) const {
    const auto* span =
        static_cast<const uint8_t*>(view_.data) + row / 16 * group_bytes() + col / span_cols_ * SpanBytes();
    const int64_t r = row % 16, c = col % span_cols_;
    const double scale = Half(span + 2 * r), code = Code(span + HeaderBytes() + c / 32 * n_words_ * 64 + 4 * r, c % 32);
    const double offset = n_halfs_ == 2 ? Half(span + 32 + 2 * r) : 0;
    if (n_scales_ == 0) return scale * (code - zero_) + offset;
    const uint8_t* scales = span + n_halfs_ * 32 + r;
    if (n_halfs_ == 2) return scale * scales[c / 32 * 16] * code - offset * scales[(8 + c / 32) * 16];
    return scale * static_cast<int8_t>(scales[c / 16 * 16]) * (code - zero_);
  }

 private:
  void Set(int64_t span_cols, int64_t n_halfs, int64_t n_scales, int64_t n_words, double zero) {
    span_cols_ = span_cols, n_halfs_ = n_halfs, n_scales_ = n_scales, n_words_ = n_words, zero_ = zero;
  }
  int64_t HeaderBytes() const { return n_halfs_ * 32 + n_scales_ * 16; }
  int64_t SpanBytes() const { return HeaderBytes() + span_cols_ / 32 * n_words_ * 64; }

  static double Half(const uint8_t* p) { return F16ToF32(static_cast<f16_t>(p[0] | p[1] << 8)); }
  static uint32_t Word(const uint8_t* row, int64_t word) {
    const uint8_t* p = row + word * 64;
    return p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24;
  }
  double Code(const uint8_t* row, int64_t c) const {
    if (n_words_ == 8) {
      constexpr int kByte[] = {0, 2, 1, 3};
      return Word(row, c / 4) >> 8 * kByte[c % 4] & 255;
    }
    constexpr int kNibble[] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint32_t code = Word(row, c / 8) >> 4 * kNibble[c % 8] & 15;
    if (n_words_ == 5) code |= (Word(row, 4) >> (c / 2 + c % 2 * 16) & 1) << 4;
    if (n_words_ == 6) code |= (Word(row, 4 + c / 16) >> (c % 16 / 2 * 2 + c % 2 * 16) & 3) << 4;
    return code;
  }

  WeightView view_;
  int64_t span_cols_ = 1, n_halfs_ = 0, n_scales_ = 0, n_words_ = 0;
  double zero_ = 0;
};

class PackedWeightTypes : public testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(Types, PackedWeightTypes, testing::ValuesIn(kPackedTypes),
                         [](const auto& info) { return TypeName(info.param); });

TEST_P(PackedWeightTypes, HoldsTheValuesOfGguf) {
  Rng rng("packed");
  for (const int64_t rows : {1, 15, 16, 17, 50}) {
    const Weight w(rng, GetParam(), rows, 768, /*gap_blocks=*/1);
    const Packed packed(w.view());
    const Reader reader(packed.view());
    ASSERT_EQ(PackedGroups(w.view()), (rows + 15) / 16);
    ASSERT_EQ(PackedBytes(w.view()), PackedGroups(w.view()) * reader.group_bytes());
    ASSERT_EQ(packed.view().row_bytes * 16, reader.group_bytes());
    std::vector<float> want(768);
    for (int64_t r = 0; r < rows; ++r) {
      const auto* row = static_cast<const std::byte*>(w.view().data) + r * w.view().row_bytes;
      Dequantise(GetParam(), row, want.data(), 768);
      // ggml rounds the products and their sum.
      for (int64_t c = 0; c < 768; ++c) {
        ASSERT_NEAR(want[c], reader.Value(r, c), 0x1p-23) << "row " << r << " column " << c;
      }
    }
  }
}

TEST_P(PackedWeightTypes, RowsBeyondTheMatrixAreZeros) {
  Rng rng("rest");
  const Weight w(rng, GetParam(), 21, 512);
  const Packed packed(w.view());
  const Reader reader(packed.view());
  int64_t n_zeros = 0;
  for (int64_t r = 21; r < 32; ++r) {
    for (int64_t c = 0; c < 512; ++c) n_zeros += reader.Value(r, c) == 0;
  }
  EXPECT_EQ(n_zeros, 11 * 512);
}

// Groups stand alone: packed in any order and by anyone, they give the same bytes, and a slice of rows is a packed
// view.
TEST_P(PackedWeightTypes, GroupsArePackedOneByOne) {
  Rng rng("groups");
  const Weight w(rng, GetParam(), 50, 256);
  const Packed packed(w.view());
  std::vector<std::byte> one_by_one(PackedBytes(w.view()), std::byte{0xaa});
  for (const int64_t g : {2, 0, 3, 1}) PackGroups(w.view(), g, g + 1, one_by_one.data());
  EXPECT_EQ(std::memcmp(one_by_one.data(), packed.view().data, one_by_one.size()), 0);

  const Packed slice(RowSlice(w.view(), 16, 33));
  const WeightView of_packed = RowSlice(packed.view(), 16, 33);
  EXPECT_TRUE(of_packed.packed);
  EXPECT_EQ(std::memcmp(slice.view().data, of_packed.data, 2 * 16 * of_packed.row_bytes), 0);
}

TEST_P(PackedWeightTypes, ViewsPassTheCheckOfWeights) {
  Rng rng("check");
  const Packed packed(Weight(rng, GetParam(), 20, 256).view());
  test::ExpectOk(CheckWeight(packed.view()));
  WeightView bad = packed.view();
  bad.row_bytes -= 1;
  test::ExpectInvalid(CheckWeight(bad), "packed row_bytes");
  bad = packed.view();
  bad.cols -= 1;
  test::ExpectInvalid(CheckWeight(bad), "no multiple");
}

TEST(PackedWeightTest, OtherTypesAndColumnsCannotBePacked) {
  Rng rng("no");
  for (const int32_t type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}) {
    const Weight w(rng, type, 3, 256);
    EXPECT_EQ(PackedBytes(w.view()), 0);
    WeightView claimed = w.view();
    claimed.packed = true;
    test::ExpectInvalid(CheckWeight(claimed), "cannot be packed");
  }
  WeightView narrow = Weight(rng, GGML_TYPE_Q4_K, 3, 256).view();
  narrow.cols = 128;
  EXPECT_EQ(PackedBytes(narrow), 0);
}

}  // namespace
}  // namespace arkvale
