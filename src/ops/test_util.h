// What the tests of the linear ops share: owned matrices and weights with awkward strides, and contexts to run in.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "base/matrix_view.h"
#include "base/rng.h"
#include "ggml.h"
#include "ops/dequantise.h"
#include "ops/op_table.h"
#include "ops/weight.h"

// clang-format off
#include "ops/simd.h"  // before hwy
#include "hwy/targets.h"
// clang-format on

namespace arkvale::test {

inline constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// An owned matrix whose row stride exceeds its columns by `gap`; the gap holds a canary that Intact() looks for.
class Matrix {
 public:
  static constexpr float kCanary = -12345.0f;

  Matrix(int64_t rows, int64_t cols, int64_t gap = 0)
      : rows_(rows), cols_(cols), stride_(cols + gap), data_(rows * stride_ + 1, kCanary) {}

  static Matrix Random(Rng& rng, int64_t rows, int64_t cols, int64_t gap = 0, float limit = 1.0f) {
    Matrix m(rows, cols, gap);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t c = 0; c < cols; ++c) m.view().row(i)[c] = rng.Uniform(-limit, limit);
    }
    return m;
  }

  MatrixView view() { return {data_.data(), rows_, cols_, stride_}; }
  // Rows [first, first + n).
  MatrixView Rows(int64_t first, int64_t n) { return {view().row(first), n, cols_, stride_}; }
  float at(int64_t i, int64_t c) const { return data_[i * stride_ + c]; }
  bool operator==(const Matrix& other) const {
    return data_.size() == other.data_.size() &&
           std::memcmp(data_.data(), other.data_.data(), data_.size() * sizeof(float)) == 0;
  }
  // True when nothing wrote between or behind the rows.
  bool Intact() const {
    for (size_t i = 0; i < data_.size(); ++i) {
      const bool inside = i / stride_ < static_cast<size_t>(rows_) && static_cast<int64_t>(i % stride_) < cols_;
      if (!inside && data_[i] != kCanary) return false;
    }
    return true;
  }

 private:
  int64_t rows_, cols_, stride_;
  std::vector<float> data_;
};

// A weight of any type that ggml can quantise to, with `gap_blocks` unused blocks after each row.
class Weight {
 public:
  Weight(Rng& rng, int32_t type, int64_t rows, int64_t cols, int64_t gap_blocks = 0) {
    std::vector<float> values(rows * cols);
    for (float& v : values) v = rng.Uniform(-1, 1);
    const int64_t row_bytes = TypeRowBytes(type, cols);
    const int64_t stride = row_bytes + TypeRowBytes(type, gap_blocks * BlockElements(type));
    data_.resize(rows * stride, 0xff);
    for (int64_t r = 0; r < rows; ++r) {
      ggml_quantize_chunk(static_cast<ggml_type>(type), values.data() + r * cols, data_.data() + r * stride, 0, 1, cols,
                          nullptr);
    }
    view_ = {data_.data(), type, rows, cols, stride};
  }
  const WeightView& view() const { return view_; }

 private:
  std::vector<uint8_t> data_;
  WeightView view_;
};

// A CPU context with its own pool and workspace.
class TestContext {
 public:
  explicit TestContext(int n_threads) : pool_(n_threads), workspace_(n_threads), ctx_{&CpuOps(), &pool_, &workspace_} {}
  operator const OpContext&() const { return ctx_; }  // NOLINT(google-explicit-constructor)

 private:
  ThreadPool pool_;
  Workspace workspace_;
  OpContext ctx_;
};

// Every instruction set that kernels are compiled for and this machine can run.
inline std::vector<int64_t> Targets() { return hwy::SupportedAndGeneratedTargets(); }

// Kernels run with one instruction set while this lives.
class ScopedTarget {
 public:
  explicit ScopedTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
  }
  ~ScopedTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  ScopedTarget(const ScopedTarget&) = delete;
  ScopedTarget& operator=(const ScopedTarget&) = delete;
};

// Base of tests that run once per instruction set: INSTANTIATE_TEST_SUITE_P(Simd, XTest, EveryTarget::Values(), Name).
class EveryTarget : public testing::TestWithParam<int64_t> {
 public:
  static auto Values() { return testing::ValuesIn(Targets()); }
  static std::string Name(const testing::TestParamInfo<int64_t>& info) { return hwy::TargetName(info.param); }

 private:
  ScopedTarget target_{GetParam()};
};

// Base of tests that run once per ggml type and instruction set:
// INSTANTIATE_TEST_SUITE_P(Types, XTest, EveryTypeAndTarget::Values(types), EveryTypeAndTarget::Name).
class EveryTypeAndTarget : public testing::TestWithParam<std::tuple<int32_t, int64_t>> {
 public:
  template <size_t n>
  static auto Values(const int32_t (&types)[n]) {
    return testing::Combine(testing::ValuesIn(types), testing::ValuesIn(Targets()));
  }
  static std::string Name(const testing::TestParamInfo<ParamType>& info) {
    return TypeName(std::get<0>(info.param)) + "_" + hwy::TargetName(std::get<1>(info.param));
  }

 protected:
  int32_t type() const { return std::get<0>(GetParam()); }

 private:
  ScopedTarget target_{std::get<1>(GetParam())};
};

inline void ExpectOk(const Status& status) { ASSERT_TRUE(status.ok()) << status.ToString(); }

// Fails unless `status` is InvalidArgument and its message contains `part`.
inline void ExpectInvalid(const Status& status, const std::string& part) {
  EXPECT_EQ(status.kind(), StatusKind::kInvalidArgument);
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

}  // namespace arkvale::test
