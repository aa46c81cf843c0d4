// Prefill from weights of plain floats, which the tiles take from where they lie.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "ops/matmul.h"
#include "ops/test_util.h"

namespace arkvale {
namespace {

using test::Matrix;
using test::TestContext;

constexpr int32_t kFloatTypes[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16};

class MatmulFloats : public test::EveryTypeAndTarget {
 protected:
  int64_t bytes() const { return TypeRowBytes(type(), 1); }
};

INSTANTIATE_TEST_SUITE_P(Types, MatmulFloats, MatmulFloats::Values(kFloatTypes), MatmulFloats::Name);

// x = 1: out [cols, rows] is the weight itself.
Matrix TimesUnit(const WeightView& w) {
  Matrix unit(w.cols, w.cols), out(w.cols, w.rows);
  for (int64_t i = 0; i < w.cols; ++i) {
    for (int64_t c = 0; c < w.cols; ++c) unit.view().row(i)[c] = i == c ? 1.0f : 0.0f;
  }
  TestContext ctx(2);
  const MatmulTarget target{w, out.view()};
  test::ExpectOk(Matmul(ctx, MatmulPath::kTiles, unit.view(), {&target, 1}));
  return out;
}

void ExpectWeight(const WeightView& w, const Matrix& out) {
  std::vector<float> row(w.cols);
  for (int64_t r = 0; r < w.rows; ++r) {
    Dequantise(w.ggml_type, static_cast<const uint8_t*>(w.data) + r * w.row_bytes, row.data(), w.cols);
    for (int64_t c = 0; c < w.cols; ++c) ASSERT_EQ(out.at(c, r), row[c]) << "row " << r << " column " << c;
  }
}

// All numbers of 16 bits and as many of f32, subnormal ones among them; rows lie apart by an odd number of elements.
TEST_P(MatmulFloats, EveryFiniteNumberArrives) {
  for (const int64_t cols : {272, 301}) {
    const int64_t rows = 65536 / cols + 1, row_bytes = (cols + 1 + cols % 2) * bytes();
    std::vector<uint8_t> data(rows * row_bytes, 0xff);
    for (int64_t i = 0; i < rows * cols; ++i) {
      const uint32_t bits = static_cast<uint32_t>(i) * (bytes() == 4 ? 65537 : 1), zero = 0;
      uint8_t* to = data.data() + i / cols * row_bytes + i % cols * bytes();
      std::memcpy(to, &bits, bytes());
      float value;
      Dequantise(type(), to, &value, 1);
      if (!std::isfinite(value)) std::memcpy(to, &zero, bytes());
    }
    const WeightView w{data.data(), type(), rows, cols, row_bytes};
    ExpectWeight(w, TimesUnit(w));
  }
}

// The last row ends where memory does.
TEST_P(MatmulFloats, ReadsNothingBehindTheWeight) {
  const int64_t page = sysconf(_SC_PAGESIZE), size = 64 * page;
  void* memory = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* end = static_cast<uint8_t*>(memory) + size;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);
  Rng rng("end");
  for (const int64_t rows : {1, 17, 49}) {
    for (const int64_t cols : {1, 7, 15, 16, 33, 257, 264, 288}) {
      uint8_t* data = end - rows * cols * bytes();
      for (int64_t i = 0; i < rows * cols; ++i) {
        const float value = rng.Uniform(-1, 1);
        ggml_quantize_chunk(static_cast<ggml_type>(type()), &value, data + i * bytes(), 0, 1, 1, nullptr);
      }
      const WeightView w{data, type(), rows, cols, cols * bytes()};
      ExpectWeight(w, TimesUnit(w));
    }
  }
  ASSERT_EQ(munmap(memory, size + page), 0);
}

}  // namespace
}  // namespace arkvale
