// Value codes on the CPU: a task is one page of one kv head.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/value_codes_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/row_loads_inl.h"

#ifndef ARKVALE_OPS_VALUE_CODES_CPU_ONCE_
#define ARKVALE_OPS_VALUE_CODES_CPU_ONCE_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/f16.h"
#include "ops/cpu_kernels.h"
#include "ops/value_code_layout.h"
#include "ops/value_codes.h"

namespace arkvale {

constexpr float kLargestF16 = 65504.0f;

struct ValueSteps {
  f16_t lo, st;
};

}  // namespace arkvale

#endif  // ARKVALE_OPS_VALUE_CODES_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// A row as f32 [CodedDim]; behind it stand copies of its first element.
template <bool kShort, typename T>
HWY_INLINE void LoadValues(const RowCut& cut, const T* row, float* values) {
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    hn::StoreU(LoadPart<kShort>(row, cut.offset(i), cut.length), DF(), values + cut.offset(i));
  }
  std::fill(values + cut.length, values + CodedDim(cut.length), values[0]);
}

// values [n], n a multiple of 32 -> their codes.
HWY_INLINE ValueSteps CodeToken(const float* values, int64_t n, float levels, uint8_t* codes) {
  const DF d;
  VF least = hn::LoadU(d, values), most = least, poison = hn::Zero(d);
  for (int64_t t = 0; t < n; t += kN) {
    const VF x = hn::LoadU(d, values + t);
    least = hn::Min(least, x);
    most = hn::Max(most, x);
    poison = hn::MulAdd(x, hn::Zero(d), poison);  // 0, or NaN
  }
  if (std::isnan(hn::GetLane(hn::SumOfLanes(d, poison)))) {
    std::fill(codes, codes + n, uint8_t{0});
    return {F32ToF16(std::numeric_limits<float>::quiet_NaN()), 0};
  }
  const float low = hn::GetLane(hn::MinOfLanes(d, least)), high = hn::GetLane(hn::MaxOfLanes(d, most));
  const ValueSteps steps = {F32ToF16(std::clamp(low, -kLargestF16, kLargestF16)),
                            F32ToF16(std::min((high - low) / levels, kLargestF16))};
  const float st = F16ToF32(steps.st);
  const VF lo = hn::Set(d, F16ToF32(steps.lo)), inverse = hn::Set(d, st > 0 ? 1 / st : 0.0f);
  for (int64_t t = 0; t < n; t += kN) {
    const VF x = hn::Mul(hn::Sub(hn::LoadU(d, values + t), lo), inverse);
    const VF inside = hn::Min(hn::Max(x, hn::Zero(d)), hn::Set(d, levels));
    hn::StoreU(hn::DemoteTo(hn::Rebind<uint8_t, DF>(), hn::NearestInt(inside)), hn::Rebind<uint8_t, DF>(), codes + t);
  }
  return steps;
}

// codes [group tokens, n] -> the group's bytes [n, 2].
template <int kBits>
HWY_INLINE void PackGroup(const uint8_t* codes, int64_t n, uint8_t* group) {
  const hn::CappedTag<uint8_t, kValueBlock> d;
  for (int64_t t = 0; t < n; t += hn::MaxLanes(d)) {
    auto even = hn::Zero(d), odd = hn::Zero(d);
    for (int64_t pair = 8 / kBits - 1; pair >= 0; --pair) {
      even = hn::Or(hn::ShiftLeft<kBits>(even), hn::LoadU(d, codes + 2 * pair * n + t));
      odd = hn::Or(hn::ShiftLeft<kBits>(odd), hn::LoadU(d, codes + (2 * pair + 1) * n + t));
    }
    hn::StoreInterleaved2(even, odd, d, group + 2 * t);
  }
}

// scratch: floats [CodedDim], then bytes [8, CodedDim].
template <int kBits, bool kShort, typename T>
void CodePage(const ValueCodeArgs& args, const ValueCodeItem& item, float* scratch) {
  const int64_t d = args.head_dim, n = CodedDim(d), p = args.page_tokens, group_tokens = ValueGroupTokens(kBits);
  const RowCut cut(d, RowStride<T>(d));
  auto* const codes = reinterpret_cast<uint8_t*>(scratch + n);
  auto* const lo = static_cast<std::byte*>(item.codes);
  auto* const st = lo + p * static_cast<int64_t>(sizeof(f16_t));
  auto* const groups = static_cast<uint8_t*>(item.codes) + ValueHeaderBytes(p);
  for (int64_t token = 0; token < p; ++token) {
    const int64_t in_group = token % group_tokens;
    uint8_t* const of_token = codes + in_group * n;
    LoadValues<kShort>(cut, static_cast<const T*>(item.values) + token * cut.stride, scratch);
    const ValueSteps steps = CodeToken(scratch, n, (1 << kBits) - 1, of_token);
    std::fill(of_token + d, of_token + n, uint8_t{0});
    std::memcpy(lo + token * sizeof(f16_t), &steps.lo, sizeof(f16_t));
    std::memcpy(st + token * sizeof(f16_t), &steps.st, sizeof(f16_t));
    if (in_group + 1 == group_tokens) PackGroup<kBits>(codes, n, groups + token / group_tokens * ValueGroupBytes(d));
  }
}

template <int kBits>
void CodePageOf(const ValueCodeArgs& args, const ValueCodeItem& item, float* scratch) {
  ForRowType(args.value_dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (!QuantisedRow<T>) {
      if (RowCut(args.head_dim).is_short()) return CodePage<kBits, true, T>(args, item, scratch);
    }
    CodePage<kBits, false, T>(args, item, scratch);
  });
}

void RunValueCodes(const ValueCodeArgs& args, int64_t i, Workspace& workspace, int thread) {
  const int64_t n = CodedDim(args.head_dim);
  auto* scratch = static_cast<float*>(workspace.PerThread(thread, n * (sizeof(float) + 8)));
  args.bits == 2 ? CodePageOf<2>(args, args.items[i], scratch) : CodePageOf<4>(args, args.items[i], scratch);
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunValueCodes);

namespace cpu {

Status ValueCodesBuild(const OpContext& ctx, const ValueCodeArgs& args) {
  const auto run = HWY_DYNAMIC_DISPATCH(RunValueCodes);
  ctx.pool->ParallelFor(static_cast<int64_t>(args.items.size()),
                        [&](int64_t i, int thread) { run(args, i, *ctx.workspace, thread); });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
