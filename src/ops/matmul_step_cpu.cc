// Matmul on the CPU, step path of packed weights: x rounded to 16 bits, products of 16 rows at a time.
#include "ops/matmul_cpu.h"

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul_step_cpu.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#include <algorithm>
#include <cmath>

#include "ggml.h"
#include "ops/step_kernels_inl.h"

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE int32_t SumOf(const int16_t* x, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
  return sum;
}

HWY_INLINE void RoundStepBlock(const float* HWY_RESTRICT row, StepBlock& out) {
  const LaneFloat d;
  const hn::Rebind<int16_t, LaneFloat> d16;
  LaneFloatV largest = hn::Zero(d), zeros = hn::Zero(d);  // zeros: 0 * x, NaN where x is not finite
#pragma GCC unroll 4
  for (int i = 0; i < kStepColumns; i += kStepLanes) {
    const LaneFloatV x = hn::LoadU(d, row + i);
    largest = hn::Max(largest, hn::Abs(x));
    zeros = hn::MulAdd(x, hn::Zero(d), zeros);
  }
  const float amax = hn::GetLane(hn::MaxOfLanes(d, largest));
  out.scale = amax * (1.0f / 32767.0f) + hn::GetLane(hn::SumOfLanes(d, zeros));
  // Blocks so small that 1 / amax could overflow count as 0.
  if (!(amax > 0x1p-100f) || std::isnan(out.scale)) {
    if (!std::isnan(out.scale)) out.scale = 0.0f;
    std::fill_n(out.x, kStepColumns, int16_t{0});
    out.first_sum = out.second_sum = out.sum = 0;
    out.scaled_sum = out.scale;
    return;
  }
  const LaneFloatV inverse = hn::Set(d, 32767.0f / amax);
#pragma GCC unroll 4
  for (int i = 0; i < kStepColumns; i += kStepLanes) {
    const LaneIntV rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, row + i), inverse));
    hn::StoreU(hn::DemoteTo(d16, rounded), d16, out.x + i);
  }
  out.first_sum = SumOf(out.x, kStepColumns / 2);
  out.second_sum = SumOf(out.x + kStepColumns / 2, kStepColumns / 2);
  out.sum = out.first_sum + out.second_sum;
  out.scaled_sum = out.scale * static_cast<float>(out.sum);
}

void RoundStepRow(const float* HWY_RESTRICT row, int64_t cols, StepBlock* HWY_RESTRICT out) {
  for (int64_t c = 0; c < cols; c += kStepColumns) RoundStepBlock(row + c, *out++);
}

// y [n, 16] -> columns [first_row, first_row + rows) of tokens [first_token, first_token + n).
void StoreGroup(const MatmulTarget& target, int64_t first_row, int64_t first_token, int64_t n, const float* y) {
  const int64_t rows = std::min(kPackedRows, target.weight.rows - first_row);
  for (int64_t t = 0; t < n; ++t, y += kPackedRows) {
    float* out = target.out.row(first_token + t) + first_row;
    for (int64_t r = 0; r < rows; ++r) {
      const float biased = target.bias != nullptr ? y[r] + target.bias[first_row + r] : y[r];
      out[r] = target.add ? out[r] + biased : biased;
    }
  }
}

template <class Layout>
void MultiplyGroups(const MatmulTarget& target, const StepBlock* x, int64_t n, int64_t begin, int64_t end) {
  const WeightView& w = target.weight;
  const int64_t n_blocks = w.cols / kStepColumns;
  HWY_ALIGN float y[kStepTokens * kPackedRows];
  for (int64_t g = begin; g < end; ++g) {
    const auto* group = static_cast<const uint8_t*>(w.data) + g * kPackedRows * w.row_bytes;
    for (int64_t t = 0; t < n; t += kStepTokens) {
      const StepBlock* tokens = x + t * n_blocks;
      const int64_t n_tokens = std::min<int64_t>(kStepTokens, n - t);
      switch (n_tokens) {
        case 1: MultiplyGroup<Layout, 1>(group, n_blocks, tokens, n_blocks, y); break;
        case 2: MultiplyGroup<Layout, 2>(group, n_blocks, tokens, n_blocks, y); break;
        case 3: MultiplyGroup<Layout, 3>(group, n_blocks, tokens, n_blocks, y); break;
        default: MultiplyGroup<Layout, 4>(group, n_blocks, tokens, n_blocks, y); break;
      }
      StoreGroup(target, g * kPackedRows, t, n_tokens, y);
    }
  }
}

void MultiplyPackedGroups(const MatmulTarget& target, const StepBlock* x, int64_t n, int64_t begin, int64_t end) {
  using S = StepScales;
  switch (target.weight.ggml_type) {
    case GGML_TYPE_Q4_0: return MultiplyGroups<StepLayout<S::kBlock, 4, 3>>(target, x, n, begin, end);
    case GGML_TYPE_Q4_1: return MultiplyGroups<StepLayout<S::kBlockOffset, 4, 0>>(target, x, n, begin, end);
    case GGML_TYPE_Q5_0: return MultiplyGroups<StepLayout<S::kBlock, 5, 4>>(target, x, n, begin, end);
    case GGML_TYPE_Q5_1: return MultiplyGroups<StepLayout<S::kBlockOffset, 5, 0>>(target, x, n, begin, end);
    case GGML_TYPE_Q8_0: return MultiplyGroups<StepLayout<S::kBlock, 8, 7>>(target, x, n, begin, end);
    case GGML_TYPE_Q4_K: return MultiplyGroups<StepLayout<S::kUnsigned, 4, 0>>(target, x, n, begin, end);
    case GGML_TYPE_Q5_K: return MultiplyGroups<StepLayout<S::kUnsigned, 5, 0>>(target, x, n, begin, end);
    case GGML_TYPE_Q6_K: return MultiplyGroups<StepLayout<S::kSigned, 6, 5>>(target, x, n, begin, end);
    default: return;  // CheckWeight lets no other type through
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {

HWY_EXPORT(RoundStepRow);
HWY_EXPORT(MultiplyPackedGroups);

void RoundStepRow(const float* row, int64_t cols, StepBlock* out) {
  HWY_DYNAMIC_DISPATCH(RoundStepRow)(row, cols, out);
}

void MultiplyPackedGroups(const MatmulTarget& target, const StepBlock* x, int64_t n, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(MultiplyPackedGroups)(target, x, n, begin, end);
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
