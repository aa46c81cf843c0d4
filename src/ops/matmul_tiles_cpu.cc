// Matmul on the CPU, prefill path: exact f32 products with weights dequantised tile by tile.
//
// Every output element is one chain of fused multiply-adds over the inputs in increasing order, held in one vector
// lane; lanes run over tokens. Blocking over the inputs stores and reloads the chain, which changes no bit. So an
// output row depends on nothing but its own x row and the weights, whatever the chunk, the row's place in it and the
// threads. A BLAS promises no such thing: rows of OpenBLAS 0.3.21 change with M = 1 (AVX-512) or odd M (SSE). Measured
// on one AVX-512 core, f32 weights, GFLOP/s here and by OpenBLAS: 512 tokens 180-195 and 193-201, 64 tokens 162-178 and
// 136-150; OpenBLAS falls to 40 on a CPU that it does not know.
#include "ops/matmul_cpu.h"

// The order matters: simd.h, foreach_target.h, then the rest of hwy.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/matmul_tiles_cpu.cc"
#include "ops/simd.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#include <algorithm>

#include "ops/dequantise.h"
#include "ops/dequantise_inl.h"

#ifndef ARKVALE_OPS_MATMUL_TILES_TYPES_
#define ARKVALE_OPS_MATMUL_TILES_TYPES_
namespace arkvale::cpu {

constexpr int64_t kStripRows = 48;   // output features per task; a multiple of every register block
constexpr int64_t kMaxTokens = 512;  // tokens per pass, which bounds the workspace
// Rows of the dequantised tile are not a power of two apart, or they would share their L1 set.
constexpr int64_t kTileStride = kTileDepth + 16;

// One pass: up to kMaxTokens rows of x against every target.
struct TilesJob {
  const OpContext& ctx;
  MatrixView x;
  std::span<const MatmulTarget> targets;
  int64_t first_token;   // of x in the whole batch: where the targets' rows begin
  int64_t panel_tokens;  // 2 vectors
  int64_t n_panels;
  float* packed;  // [n_panels, depth, panel_tokens]: x, zeros beyond the last token
};

}  // namespace arkvale::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Features per register block: with 2 token vectors 24 accumulators of 32 registers, or 12 of 16.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
constexpr int64_t kGroup = 6;
#else
constexpr int64_t kGroup = 12;
#endif
static_assert(kStripRows % kGroup == 0);

int64_t PanelTokens() { return 2 * static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>())); }

// dst[c * dst_stride + r] (+)= src[r][c] for a 4 x 4 block.
HWY_INLINE void Transpose4x4(const float* const* src, float* dst, int64_t dst_stride, bool add) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 16; ++i) {
    float* to = dst + i / 4 * dst_stride + i % 4;
    *to = add ? *to + src[i % 4][i / 4] : src[i % 4][i / 4];
  }
#else
  const hn::CappedTag<float, 4> d;
  const auto a = hn::LoadU(d, src[0]), b = hn::LoadU(d, src[1]), c = hn::LoadU(d, src[2]), e = hn::LoadU(d, src[3]);
  const auto ab0 = hn::InterleaveLower(d, a, b), ab1 = hn::InterleaveUpper(d, a, b);
  const auto ce0 = hn::InterleaveLower(d, c, e), ce1 = hn::InterleaveUpper(d, c, e);
  const hn::Vec<decltype(d)> rows[4] = {hn::ConcatLowerLower(d, ce0, ab0), hn::ConcatUpperUpper(d, ce0, ab0),
                                        hn::ConcatLowerLower(d, ce1, ab1), hn::ConcatUpperUpper(d, ce1, ab1)};
  for (int i = 0; i < 4; ++i) {
    float* to = dst + i * dst_stride;
    hn::StoreU(add ? hn::Add(hn::LoadU(d, to), rows[i]) : rows[i], d, to);
  }
#endif
}

void PackPanel(const TilesJob& job, int64_t panel) {
  const int64_t width = job.panel_tokens, depth = job.x.cols;
  const int64_t t0 = panel * width, n = std::min(width, job.x.rows - t0);
  float* dst = job.packed + panel * width * depth;
  constexpr int64_t kBlock = 64;  // inputs per sweep over the tokens: whole cache lines of x, and dst stays in L1
  for (int64_t k0 = 0; k0 < depth; k0 += kBlock) {
    const int64_t k1 = std::min(depth, k0 + kBlock);
    int64_t t = 0;
    for (; t + 4 <= n; t += 4) {
      int64_t k = k0;
      for (; k + 4 <= k1; k += 4) {
        const float* rows[4];
        for (int i = 0; i < 4; ++i) rows[i] = job.x.row(t0 + t + i) + k;
        Transpose4x4(rows, dst + k * width + t, width, /*add=*/false);
      }
      for (; k < k1; ++k) {
        for (int i = 0; i < 4; ++i) dst[k * width + t + i] = job.x.row(t0 + t + i)[k];
      }
    }
    for (; t < width; ++t) {
      for (int64_t k = k0; k < k1; ++k) dst[k * width + t] = t < n ? job.x.row(t0 + t)[k] : 0.0f;
    }
  }
}

// sums[kGroup, panel] (+)= w[kGroup, depth] x[depth, panel] for the first kVecs vectors of the panel.
template <int kVecs>
HWY_INLINE void MicroKernel(const float* HWY_RESTRICT w, const float* HWY_RESTRICT x, int64_t depth, bool first,
                            float* HWY_RESTRICT sums) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), width = 2 * lanes;
  hn::Vec<decltype(d)> acc[kGroup][kVecs];
#pragma GCC unroll 12
  for (int64_t f = 0; f < kGroup; ++f) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) acc[f][v] = first ? hn::Zero(d) : hn::Load(d, sums + f * width + v * lanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    hn::Vec<decltype(d)> tokens[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) tokens[v] = hn::Load(d, x + k * width + v * lanes);
#pragma GCC unroll 12
    for (int64_t f = 0; f < kGroup; ++f) {
      const auto weight = hn::Set(d, w[f * kTileStride + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) acc[f][v] = hn::MulAdd(weight, tokens[v], acc[f][v]);
    }
  }
#pragma GCC unroll 12
  for (int64_t f = 0; f < kGroup; ++f) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) hn::Store(acc[f][v], d, sums + f * width + v * lanes);
  }
}

// sums: [kStripRows, width] of one panel -> rows of out.
void StoreSums(const TilesJob& job, const MatmulTarget& target, int64_t feature0, int64_t n_features, int64_t panel,
               const float* sums) {
  const int64_t width = job.panel_tokens;
  const int64_t t0 = panel * width, n = std::min(width, job.x.rows - t0);
  const MatrixView& out = target.out;
  const int64_t row0 = job.first_token + t0;
  int64_t t = 0;
  for (; t + 4 <= n; t += 4) {
    int64_t f = 0;
    for (; f + 4 <= n_features; f += 4) {
      const float* rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = sums + (f + i) * width + t;
      Transpose4x4(rows, out.row(row0 + t) + feature0 + f, out.stride, target.add);
    }
    for (; f < n_features; ++f) {
      for (int i = 0; i < 4; ++i) {
        float* to = out.row(row0 + t + i) + feature0 + f;
        *to = target.add ? *to + sums[f * width + t + i] : sums[f * width + t + i];
      }
    }
  }
  for (; t < n; ++t) {
    float* to = out.row(row0 + t) + feature0;
    for (int64_t f = 0; f < n_features; ++f) to[f] = target.add ? to[f] + sums[f * width + t] : sums[f * width + t];
  }
}

// sums[f, :] += bias[f].
void AddBias(const float* bias, int64_t n_features, int64_t width, float* sums) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t f = 0; f < n_features; ++f) {
    for (float* at = sums + f * width; at < sums + (f + 1) * width; at += lanes) {
      hn::Store(hn::Add(hn::Load(d, at), hn::Set(d, bias[f])), d, at);
    }
  }
}

// Features [feature0, feature0 + kStripRows) of one target for all tokens of the pass.
void RunStrip(const TilesJob& job, const MatmulTarget& target, int64_t feature0, int thread) {
  const WeightView& w = target.weight;
  const int64_t width = job.panel_tokens, panel_sums = kStripRows * width;
  const int64_t n_features = std::min(kStripRows, w.rows - feature0);
  const int64_t groups = (n_features + kGroup - 1) / kGroup;
  auto* tile = static_cast<float*>(
      job.ctx.workspace->PerThread(thread, (kStripRows * kTileStride + job.n_panels * panel_sums) * sizeof(float)));
  float* sums = tile + kStripRows * kTileStride;
  for (int64_t f = n_features; f < groups * kGroup; ++f) std::fill_n(tile + f * kTileStride, kTileDepth, 0.0f);

  for (int64_t k0 = 0; k0 < w.cols; k0 += kTileDepth) {
    const int64_t depth = std::min(kTileDepth, w.cols - k0);
    const bool last = k0 + depth == w.cols;
    for (int64_t f = 0; f < n_features; ++f) {
      const auto* row = static_cast<const std::byte*>(w.data) + (feature0 + f) * w.row_bytes;
      DequantiseTileRow(w.ggml_type, row + TypeRowBytes(w.ggml_type, k0), tile + f * kTileStride, depth);
    }
    for (int64_t p = 0; p < job.n_panels; ++p) {
      const float* x = job.packed + (p * w.cols + k0) * width;
      const bool half = job.x.rows - p * width <= width / 2;  // the second vector holds no token
      for (int64_t g = 0; g < groups; ++g) {
        const float* weights = tile + g * kGroup * kTileStride;
        float* to = sums + p * panel_sums + g * kGroup * width;
        if (half) {
          MicroKernel<1>(weights, x, depth, k0 == 0, to);
        } else {
          MicroKernel<2>(weights, x, depth, k0 == 0, to);
        }
      }
      if (!last) continue;
      if (target.bias != nullptr) AddBias(target.bias + feature0, n_features, width, sums + p * panel_sums);
      StoreSums(job, target, feature0, n_features, p, sums + p * panel_sums);
    }
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {
namespace {

HWY_EXPORT(PanelTokens);
HWY_EXPORT(PackPanel);
HWY_EXPORT(RunStrip);

int64_t Strips(const MatmulTarget& target) { return (target.weight.rows + kStripRows - 1) / kStripRows; }

void RunPass(const TilesJob& job) {
  job.ctx.pool->ParallelFor(job.n_panels, [&job](int64_t panel, int) { HWY_DYNAMIC_DISPATCH(PackPanel)(job, panel); });
  int64_t n_strips = 0;
  for (const MatmulTarget& target : job.targets) n_strips += Strips(target);
  job.ctx.pool->ParallelFor(n_strips, [&job](int64_t strip, int thread) {
    const MatmulTarget* target = job.targets.data();
    for (; strip >= Strips(*target); ++target) strip -= Strips(*target);
    HWY_DYNAMIC_DISPATCH(RunStrip)(job, *target, strip * kStripRows, thread);
  });
}

}  // namespace

void MatmulTiles(const OpContext& ctx, const MatrixView& x, std::span<const MatmulTarget> targets) {
  const int64_t width = HWY_DYNAMIC_DISPATCH(PanelTokens)();
  for (int64_t first = 0; first < x.rows; first += kMaxTokens) {
    const int64_t n = std::min(kMaxTokens, x.rows - first);
    const int64_t n_panels = (n + width - 1) / width;
    auto* packed = static_cast<float*>(ctx.workspace->Shared(0, n_panels * width * x.cols * sizeof(float)));
    RunPass({ctx, {x.row(first), n, x.cols, x.stride}, targets, first, width, n_panels, packed});
  }
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
