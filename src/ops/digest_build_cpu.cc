// Building digests on the CPU: a task is one page of one kv head.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/digest_build_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/row_kernels_inl.h"

#ifndef ARKVALE_OPS_DIGEST_BUILD_CPU_ONCE_
#define ARKVALE_OPS_DIGEST_BUILD_CPU_ONCE_

#include <cmath>
#include <limits>

#include "ops/cpu_kernels.h"
#include "ops/digest_layout.h"

namespace arkvale {

enum class DigestSpread { kMax, kCenter, kMean };

inline DigestSpread SpreadOf(DigestKind kind) {
  if (kind == DigestKind::kSphereMax || kind == DigestKind::kCuboidMax) return DigestSpread::kMax;
  if (kind == DigestKind::kSphereCenter || kind == DigestKind::kCuboidCenter) return DigestSpread::kCenter;
  return DigestSpread::kMean;
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_DIGEST_BUILD_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

// Low, high of vector i of the keys over the page.
template <bool kShort, typename T>
HWY_INLINE void Bounds(const RowCut& cut, const T* keys, int64_t p, int64_t i, VF* low, VF* high) {
  *low = *high = LoadPart<kShort>(keys, cut.offset(i), cut.length);
  for (int64_t k = 1; k < p; ++k) {
    const VF x = LoadPart<kShort>(keys + k * cut.stride, cut.offset(i), cut.length);
    *low = hn::Min(*low, x);
    *high = hn::Max(*high, x);
  }
}

HWY_INLINE VF Half(VF a, VF b) { return hn::Mul(hn::Add(a, b), hn::Set(DF(), 0.5f)); }

// All Build* write vectors in RowCut's layout.
template <bool kShort, typename T>
void BuildCentroid(const RowCut& cut, const T* keys, int64_t p, float* mean) {
  const DF d;
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF sum = hn::Zero(d);
    for (int64_t k = 0; k < p; ++k) {
      sum = hn::Add(sum, LoadPart<kShort>(keys + k * cut.stride, cut.offset(i), cut.length));
    }
    hn::StoreU(hn::Div(sum, hn::Set(d, static_cast<float>(p))), d, mean + i * kN);
  }
}

template <bool kShort, typename T>
void BuildBox(const RowCut& cut, const T* keys, int64_t p, DigestSpread spread, BoxForm form, float* first,
              float* second) {
  const DF d;
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF low, high;
    Bounds<kShort>(cut, keys, p, i, &low, &high);
    VF one = high, two = low;
    if (form == BoxForm::kQuarters) {
      one = low;
      two = hn::Mul(hn::Sub(high, low), hn::Set(d, 0.25f));
    } else if (form == BoxForm::kCentre || spread != DigestSpread::kMax) {  // b+ is high, exactly, for kMax
      const VF centre = Half(low, high);
      VF sum = hn::Zero(d), least = hn::Sub(high, low), most = hn::Zero(d);
      for (int64_t k = 0; k < p; ++k) {
        const VF x = LoadPart<kShort>(keys + k * cut.stride, cut.offset(i), cut.length);
        const VF distance = hn::Abs(hn::Sub(centre, x));
        sum = hn::Add(sum, distance);
        least = hn::Min(least, distance);
        most = hn::Max(most, distance);
      }
      VF rho = most;
      if (spread == DigestSpread::kMean) rho = hn::Div(sum, hn::Set(d, static_cast<float>(p)));
      if (spread == DigestSpread::kCenter) rho = Half(least, most);
      one = form == BoxForm::kCentre ? centre : hn::Add(centre, rho);
      two = form == BoxForm::kCentre ? rho : hn::Sub(centre, rho);
    }
    hn::StoreU(one, d, first + i * kN);
    hn::StoreU(two, d, second + i * kN);
  }
}

// squares [p * kN]: scratch for the squared distances, per lane.
template <bool kShort, typename T>
float BuildSphere(const RowCut& cut, const T* keys, int64_t p, DigestSpread spread, float* centre, float* squares) {
  const DF d;
  std::fill(squares, squares + p * kN, 0.0f);
  for (int64_t i = 0; i < cut.n_vec; ++i) {
    VF low, high;
    Bounds<kShort>(cut, keys, p, i, &low, &high);
    const VF c = Half(low, high);
    hn::StoreU(c, d, centre + i * kN);
    // Lanes that the vector before covers, or past a short row, count once and not at all.
    const int64_t first = kShort ? 0 : i * kN - cut.offset(i), end = kShort ? cut.length : kN;
    const auto counts = hn::And(hn::Ge(hn::Iota(d, 0), hn::Set(d, static_cast<float>(first))),
                                hn::Lt(hn::Iota(d, 0), hn::Set(d, static_cast<float>(end))));
    for (int64_t k = 0; k < p; ++k) {
      const VF x = LoadPart<kShort>(keys + k * cut.stride, cut.offset(i), cut.length);
      const VF difference = hn::IfThenElseZero(counts, hn::Sub(c, x));
      hn::StoreU(hn::MulAdd(difference, difference, hn::LoadU(d, squares + k * kN)), d, squares + k * kN);
    }
  }
  float sum = 0, least = std::numeric_limits<float>::infinity(), most = 0;
  for (int64_t k = 0; k < p; ++k) {
    const float distance = std::sqrt(hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, squares + k * kN))));
    sum += distance;
    least = std::min(least, distance);
    most = std::max(most, distance);
  }
  if (spread == DigestSpread::kMax) return most;
  return spread == DigestSpread::kCenter ? (least + most) / 2 : sum / static_cast<float>(p);
}

// Writes the words of one token from its bits [d] in order of dimension, padded with 0 to whole blocks.
HWY_INLINE void PutWords(const uint8_t* bits, int64_t p, int64_t token, int64_t d, std::byte* plane) {
  constexpr int64_t kWord = kCodeBlock / 8;
  for (int64_t block = 0; block < CodeBlocks(d); ++block) {
    std::memcpy(plane + (block * p + token) * kWord, bits + block * kWord, kWord);
  }
}

// Lanes of a mask that starts at dimension `dim` of a row of d (both multiples of 8, or kN divides both).
template <class Mask>
HWY_INLINE void PutBits(Mask mask, int64_t dim, int64_t d, uint8_t* bits) {
  uint8_t lanes[8] = {};
  hn::StoreMaskBits(DF(), mask, lanes);
  if constexpr (kN >= 8) {
    std::memcpy(bits + dim / 8, lanes, std::min(kN, d) / 8);
  } else {
    bits[dim / 8] = static_cast<uint8_t>((dim % 8 == 0 ? 0 : bits[dim / 8]) | lanes[0] << dim % 8);
  }
}

// values [2 d]: the rounded vectors. scratch [5 d + kCodeBlock].
template <bool kShort, typename T>
void BuildPlanes(const DigestBuildArgs& args, const DigestBuildItem& item, const float* values, float* scratch) {
  const int64_t d = args.head_dim, p = args.page_tokens, bit_bytes = CodeBlocks(d) * kCodeBlock / 8;
  const bool two = args.kind == DigestKind::kCode2;
  float* const edges = scratch;  // where a key's code steps up; code1 has only the second, its centre
  auto* const high = reinterpret_cast<uint8_t*>(scratch + 3 * d);
  auto* const low = high + bit_bytes;
  std::fill(high, low + bit_bytes, uint8_t{0});
  for (int64_t t = 0; t < d; ++t) {
    const float first = values[t], width = values[d + t];
    const float none = std::numeric_limits<float>::infinity();  // a box without width: all codes 0
    for (int e = 0; e < 3; ++e) edges[e * d + t] = width > 0 ? first + static_cast<float>(e + 1) * width : none;
    if (!two) edges[d + t] = first;
  }
  const RowCut cut(d, RowStride<T>(d));
  for (int64_t token = 0; token < p; ++token) {
    const T* key = static_cast<const T*>(item.keys) + token * cut.stride;
    for (int64_t i = 0; i < cut.n_vec; ++i) {
      const int64_t at = cut.offset(i);
      const VF x = LoadPart<kShort>(key, at, d);
      const auto is_high = hn::Ge(x, LoadPart<kShort>(edges + d, at, d));
      PutBits(is_high, at, d, high);
      if (!two) continue;
      const auto above_low = hn::Ge(x, LoadPart<kShort>(edges, at, d));
      const auto above_top = hn::Ge(x, LoadPart<kShort>(edges + 2 * d, at, d));
      PutBits(hn::Xor(hn::Xor(above_low, is_high), above_top), at, d, low);
    }
    PutWords(high, p, token, d, static_cast<std::byte*>(item.planes[0]));
    if (two) PutWords(low, p, token, d, static_cast<std::byte*>(item.planes[1]));
  }
}

template <bool kShort, typename T>
void BuildDigest(const DigestBuildArgs& args, const DigestBuildItem& item, float* scratch) {
  const int64_t d = args.head_dim, p = args.page_tokens;
  const RowCut cut(d, RowStride<T>(d));
  float* const first = scratch;
  float* const second = first + cut.padded();
  float* const result = second + cut.padded();
  const auto* keys = static_cast<const T*>(item.keys);
  const DigestSpread spread = SpreadOf(args.kind);
  if (args.kind == DigestKind::kCentroid) {
    BuildCentroid<kShort>(cut, keys, p, first);
  } else if (IsSphere(args.kind)) {
    result[d] = BuildSphere<kShort>(cut, keys, p, spread, first, result + 2 * d + 1);
  } else {
    BuildBox<kShort>(cut, keys, p, spread, FormOf(args.kind, args.type), first, second);
    UnpackRow(cut, second, 1.0f, result + d);
  }
  UnpackRow(cut, first, 1.0f, result);
  WriteDigestVectors(args.kind, args.type, d, result, item.vectors);
  if (IsCode(args.kind)) {
    ReadDigestVectors(args.kind, args.type, d, item.vectors, result);
    BuildPlanes<kShort, T>(args, item, result, result + 2 * d);
  }
}

void RunDigestBuild(const DigestBuildArgs& args, int64_t i, Workspace& workspace, int thread) {
  const RowCut cut(args.head_dim);
  const int64_t floats = 2 * cut.padded() + 7 * args.head_dim + kCodeBlock + args.page_tokens * kN;
  auto* scratch = static_cast<float*>(workspace.PerThread(thread, floats * sizeof(float)));
  const DigestBuildItem& item = args.items[i];
  ForRowType(args.key_dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (!QuantisedRow<T>) {
      if (cut.is_short()) return BuildDigest<true, T>(args, item, scratch);
    }
    BuildDigest<false, T>(args, item, scratch);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunDigestBuild);

namespace cpu {

Status DigestBuild(const OpContext& ctx, const DigestBuildArgs& args) {
  const auto run = HWY_DYNAMIC_DISPATCH(RunDigestBuild);
  ctx.pool->ParallelFor(static_cast<int64_t>(args.items.size()),
                        [&](int64_t i, int thread) { run(args, i, *ctx.workspace, thread); });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
