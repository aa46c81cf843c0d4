// Prefill from packed weights: the bits of the unpacked ones.
#include <gtest/gtest.h>

#include "ops/matmul.h"
#include "ops/packed_test_util.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::ExpectOk;
using test::kPackedTypes;
using test::Matrix;
using test::Packed;
using test::TestContext;
using test::Weight;

class PackedTiles : public test::EveryTypeAndTarget {
 protected:
  // A span of the type, and so the least number of columns.
  int64_t span() const { return BlockElements(type()); }
};

INSTANTIATE_TEST_SUITE_P(Types, PackedTiles, PackedTiles::Values(kPackedTypes), PackedTiles::Name);

// The product with gaps everywhere, into what was there before.
Matrix Product(int threads, Matrix& x, int64_t n, const WeightView& w, bool add = false, const float* bias = nullptr) {
  TestContext ctx(threads);
  Rng rng("out");
  Matrix out = Matrix::Random(rng, n, w.rows, /*gap=*/3);
  const MatmulTarget target{w, out.view(), add, bias};
  ExpectOk(Matmul(ctx, MatmulPath::kTiles, x.Rows(0, n), {&target, 1}));
  EXPECT_TRUE(out.Intact());
  return out;
}

TEST_P(PackedTiles, SameBitsAsUnpacked) {
  Rng rng("packed tiles");
  for (const int64_t cols : {span(), 3 * span(), int64_t{1280}}) {
    for (const int64_t rows : {1, 15, 16, 17, 33, 47, 48, 50, 97}) {
      const Weight w(rng, type(), rows, cols, /*gap_blocks=*/1);
      const Packed packed(w.view());
      Matrix x = Matrix::Random(rng, 35, cols, /*gap=*/5);
      for (const int64_t n : {1, 2, 7, 8, 21, 35}) {
        ASSERT_TRUE(Product(2, x, n, packed.view()) == Product(2, x, n, w.view()))
            << rows << " x " << cols << ", " << n;
      }
    }
  }
}

// Random numbers quantise to scales of one sign and codes away from the ends; here every bit of a block is random.
TEST_P(PackedTiles, SameBitsForAnyBlock) {
  Rng rng("any block");
  const int64_t rows = 37, cols = 512, row_bytes = TypeRowBytes(type(), cols), block = TypeRowBytes(type(), span());
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * row_bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.Below(256));
  // The f16 numbers are at a block's begin, q6_K's at its end. Finite ones: no exponent of all ones.
  for (int64_t at = 0; at < rows * row_bytes; at += block) {
    if (type() == GGML_TYPE_Q6_K) {
      bytes[static_cast<size_t>(at + block - 1)] &= 0xbf;
      continue;
    }
    bytes[static_cast<size_t>(at + 1)] &= 0xbf;
    bytes[static_cast<size_t>(at + 3)] &= 0xbf;
  }
  const WeightView w{bytes.data(), type(), rows, cols, row_bytes};
  const Packed packed(w);
  Matrix x = Matrix::Random(rng, 9, cols);
  EXPECT_TRUE(Product(1, x, 9, packed.view()) == Product(1, x, 9, w));
}

TEST_P(PackedTiles, AddAndBiasAsUnpacked) {
  Rng rng("add and bias");
  const Weight w(rng, type(), 70, 2 * span());
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, 19, 2 * span()), bias = Matrix::Random(rng, 1, 70, 0, 30.0f);
  for (const bool add : {false, true}) {
    for (const float* b : {static_cast<const float*>(nullptr), static_cast<const float*>(bias.view().data)}) {
      EXPECT_TRUE(Product(2, x, 19, packed.view(), add, b) == Product(2, x, 19, w.view(), add, b))
          << add << (b != nullptr);
    }
  }
}

TEST_P(PackedTiles, SlicesAreSlices) {
  Rng rng("slices");
  const Weight w(rng, type(), 150, 3 * span());
  const Packed packed(w.view());
  Matrix x = Matrix::Random(rng, 11, 3 * span());
  for (const int64_t begin : {0, 16, 64, 144}) {
    for (const int64_t n : {1, 6}) {
      EXPECT_TRUE(Product(2, x, 11, RowSlice(packed.view(), begin, n)) ==
                  Product(2, x, 11, RowSlice(w.view(), begin, n)));
    }
  }
  EXPECT_TRUE(Product(2, x, 11, RowSlice(packed.view(), 32, 100)) == Product(2, x, 11, RowSlice(w.view(), 32, 100)));
}

TEST_P(PackedTiles, TokensAndThreadsDoNotChangeABit) {
  Rng rng("tokens");
  const Weight w(rng, type(), 100, 1024);
  const Packed packed(w.view());
  const int64_t n = 530;  // more than one pass
  Matrix x = Matrix::Random(rng, n, 1024);
  const Matrix all = Product(2, x, n, packed.view());
  EXPECT_TRUE(all == Product(1, x, n, packed.view()));
  TestContext ctx(2);
  for (const int64_t i : {0, 5, 511, 512, 529}) {
    Matrix one(1, 100);
    const MatmulTarget target{packed.view(), one.view()};
    ExpectOk(Matmul(ctx, MatmulPath::kTiles, x.Rows(i, 1), {&target, 1}));
    for (int64_t r = 0; r < 100; ++r) ASSERT_EQ(one.at(0, r), all.at(i, r)) << i << " " << r;
  }
}

}  // namespace
}  // namespace arkvale
