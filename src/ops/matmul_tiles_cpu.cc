// Matmul on the CPU, prefill path: exact f32 products with weights dequantised tile by tile.
//
// Every output element is one chain of fused multiply-adds over the inputs in increasing order, held in one vector
// lane; lanes run over output features. Blocking over the inputs stores and reloads the chain, which changes no bit. So
// an output row depends on nothing but its own x row and the weights, whatever the chunk, the row's place in it and the
// threads. A BLAS promises no such thing: rows of OpenBLAS 0.3.21 change with M = 1 (AVX-512) or odd M (SSE).
//
// x is read where it lies, one broadcast per weight vectors: on a Zen 5 core whose peak is 275 GFLOP/s this runs at 268
// (640 inputs), 261 (2048); x packed into panels at 270, 262, and they would have to be packed.
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

#include "ggml.h"
#include "ops/dequantise.h"
#include "ops/dequantise_inl.h"
#include "ops/dequantise_packed_inl.h"
#include "ops/transpose_inl.h"

#ifndef ARKVALE_OPS_MATMUL_TILES_TYPES_
#define ARKVALE_OPS_MATMUL_TILES_TYPES_
namespace arkvale::cpu {

constexpr int64_t kStripRows = 48;   // output features per task: packed groups and a multiple of every register block
constexpr int64_t kMaxTokens = 512;  // tokens per pass: their sums, and their inputs of one tile, stay in L2
static_assert(kStripRows % kPackedRows == 0);

constexpr bool IsPlainFloat(int32_t ggml_type) {
  return ggml_type == GGML_TYPE_F32 || ggml_type == GGML_TYPE_F16 || ggml_type == GGML_TYPE_BF16;
}

// One pass: up to kMaxTokens rows of x against every target.
struct TilesJob {
  const OpContext& ctx;
  MatrixView x;
  std::span<const MatmulTarget> targets;
  int64_t first_token;  // of x in the whole batch: where the targets' rows begin
};

// What a micro kernel reads and writes: features from a tile's vector on, tokens from a row of x on.
struct TileBlock {
  const float* tile;  // [depth, kStripRows]
  const float* x;     // [tokens, depth]
  int64_t x_stride;
  int64_t depth;
  bool first;   // sums are not yet there
  float* sums;  // [tokens, kStripRows]
};

}  // namespace arkvale::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace arkvale::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A register block, vectors of features by tokens: 24 accumulators of 32 registers, or 12 of 16.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
constexpr int64_t kVectors = 2, kTokens = 6;
#else
constexpr int64_t kVectors = 3, kTokens = 8;
#endif

constexpr int64_t kLanes = hn::MaxLanes(LaneFloat());
static_assert(kTileDepth % kLanes == 0 && kPackedRows % kLanes == 0);

// Floats from one to the next of the rows that are dequantised before they are transposed; no power of two.
constexpr int64_t kSourceStride = kTileDepth + 16;

HWY_INLINE LaneFloatV LoadFloats(const float* p) { return hn::LoadU(LaneFloat(), p); }
template <typename T>  // f16 or bf16
HWY_INLINE LaneFloatV LoadFloats(const T* p) {
  return hn::PromoteTo(LaneFloat(), hn::LoadU(hn::Rebind<T, LaneFloat>(), p));
}

// tile[k, i] = element k of row i for k < depth; anything from there up to whole vectors of k, which rows must hold.
template <typename T>
void TransposeRows(const void* const rows[kLanes], int64_t depth, float* tile) {
  for (int64_t k = 0; k < depth; k += kLanes) {
    LaneFloatV block[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) block[i] = LoadFloats(static_cast<const T*>(rows[i]) + k);
    arkvale::HWY_NAMESPACE::Transpose(LaneFloat(), block);
    for (int64_t i = 0; i < kLanes; ++i) hn::Store(block[i], LaneFloat(), tile + (k + i) * kStripRows);
  }
}

// tile[k, f] = weight of input k0 + k and feature feature0 + f; zeros from n_features on, up to whole vectors.
void FillTile(const WeightView& w, int64_t feature0, int64_t n_features, int64_t k0, int64_t depth, float* source,
              float* tile) {
  const auto* rows = static_cast<const std::byte*>(w.data) + feature0 * w.row_bytes;
  if (w.packed) {
    // A group is its spans one after the other, and k0 is at the border of one.
    for (int64_t f = 0; f < n_features; f += kPackedRows) {
      const int64_t offset = f * w.row_bytes + k0 * (w.row_bytes * kPackedRows) / w.cols;
      DequantisePackedGroup(w.ggml_type, rows + offset, depth, tile + f, kStripRows);
    }
    return;
  }
  const int64_t skip = TypeRowBytes(w.ggml_type, k0);
  // Plain floats are transposed from where they lie, unless whole vectors would reach behind the row. ggml converts f16
  // one by one: 16 tokens took five times as long.
  const bool in_place = IsPlainFloat(w.ggml_type) && depth % kLanes == 0;
  const int32_t type = in_place ? w.ggml_type : GGML_TYPE_F32;
  for (int64_t f = 0; f < n_features; f += kLanes) {
    const void* from[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      float* to = source + i * kSourceStride;
      from[i] = to;
      if (f + i >= n_features) {
        std::fill_n(to, depth, 0.0f);  // zeros of any type
      } else if (in_place) {
        from[i] = rows + (f + i) * w.row_bytes + skip;
      } else {
        DequantiseTileRow(w.ggml_type, rows + (f + i) * w.row_bytes + skip, to, depth);
      }
    }
    if (type == GGML_TYPE_F32) {
      TransposeRows<float>(from, depth, tile + f);
    } else if (type == GGML_TYPE_F16) {
      TransposeRows<hwy::float16_t>(from, depth, tile + f);
    } else {
      TransposeRows<hwy::bfloat16_t>(from, depth, tile + f);
    }
  }
}

// sums (+)= x tile for kRows tokens and kCols vectors of features.
template <int kCols, int kRows>
HWY_INLINE void MicroKernel(const TileBlock& block) {
  const LaneFloat d;
  const float* HWY_RESTRICT tile = block.tile;
  const float* HWY_RESTRICT x = block.x;
  float* HWY_RESTRICT sums = block.sums;
  const int64_t x_stride = block.x_stride, depth = block.depth;
  const bool first = block.first;
  LaneFloatV acc[kRows][kCols];
#pragma GCC unroll 8
  for (int64_t t = 0; t < kRows; ++t) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < kCols; ++v) {
      acc[t][v] = first ? hn::Zero(d) : hn::Load(d, sums + t * kStripRows + v * kLanes);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    LaneFloatV weights[kCols];
#pragma GCC unroll 3
    for (int64_t v = 0; v < kCols; ++v) weights[v] = hn::Load(d, tile + k * kStripRows + v * kLanes);
#pragma GCC unroll 8
    for (int64_t t = 0; t < kRows; ++t) {
      const auto input = hn::Set(d, x[t * x_stride + k]);
#pragma GCC unroll 3
      for (int64_t v = 0; v < kCols; ++v) acc[t][v] = hn::MulAdd(weights[v], input, acc[t][v]);
    }
  }
#pragma GCC unroll 8
  for (int64_t t = 0; t < kRows; ++t) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < kCols; ++v) hn::Store(acc[t][v], d, sums + t * kStripRows + v * kLanes);
  }
}

// Runs the kernel for as many of n_tokens as a register block takes, and returns their number.
template <int kCols>
int64_t RunTokens(const TileBlock& block, int64_t n_tokens) {
  if (n_tokens >= kTokens) {
    MicroKernel<kCols, kTokens>(block);
    return kTokens;
  }
  if (n_tokens >= 4) {
    MicroKernel<kCols, 4>(block);
    return 4;
  }
  if (n_tokens >= 2) {
    MicroKernel<kCols, 2>(block);
    return 2;
  }
  MicroKernel<kCols, 1>(block);
  return 1;
}

int64_t RunBlock(const TileBlock& block, int64_t n_vectors, int64_t n_tokens) {
  if (n_vectors == 1) return RunTokens<1>(block, n_tokens);
  if (n_vectors == 2 || kVectors == 2) return RunTokens<2>(block, n_tokens);
  return RunTokens<kVectors>(block, n_tokens);
}

// sums [n_tokens, kStripRows] of features [feature0, feature0 + n) -> rows of out from row0 on.
void StoreSums(const MatmulTarget& target, int64_t feature0, int64_t n, int64_t row0, int64_t n_tokens,
               const float* sums) {
  const LaneFloat d;
  const float* bias = target.bias == nullptr ? nullptr : target.bias + feature0;
  for (int64_t t = 0; t < n_tokens; ++t, sums += kStripRows) {
    float* out = target.out.row(row0 + t) + feature0;
    int64_t f = 0;
    for (; f + kLanes <= n; f += kLanes) {
      auto sum = hn::Load(d, sums + f);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + f));
      if (target.add) sum = hn::Add(hn::LoadU(d, out + f), sum);
      hn::StoreU(sum, d, out + f);
    }
    for (; f < n; ++f) {
      const float sum = bias == nullptr ? sums[f] : sums[f] + bias[f];
      out[f] = target.add ? out[f] + sum : sum;
    }
  }
}

// Features [feature0, feature0 + kStripRows) of one target for all tokens of the pass.
void RunStrip(const TilesJob& job, const MatmulTarget& target, int64_t feature0, int thread) {
  const WeightView& w = target.weight;
  const int64_t n_features = std::min(kStripRows, w.rows - feature0), n_tokens = job.x.rows;
  constexpr int64_t kTileFloats = kTileDepth * kStripRows, kSourceFloats = kPackedRows * kSourceStride;
  auto* tile = static_cast<float*>(job.ctx.workspace->PerThread(
      thread, (kTileFloats + kSourceFloats + n_tokens * kStripRows) * static_cast<int64_t>(sizeof(float))));
  float* source = tile + kTileFloats;
  float* sums = source + kSourceFloats;

  for (int64_t k0 = 0; k0 < w.cols; k0 += kTileDepth) {
    const int64_t depth = std::min(kTileDepth, w.cols - k0);
    const bool last = k0 + depth == w.cols;
    FillTile(w, feature0, n_features, k0, depth, source, tile);
    for (int64_t f = 0; f < n_features; f += kVectors * kLanes) {
      const int64_t n = std::min(kVectors * kLanes, n_features - f), n_vectors = (n + kLanes - 1) / kLanes;
      for (int64_t t = 0; t < n_tokens;) {
        float* to = sums + t * kStripRows + f;
        const TileBlock block{tile + f, job.x.row(t) + k0, job.x.stride, depth, k0 == 0, to};
        const int64_t done = RunBlock(block, n_vectors, n_tokens - t);
        if (last) StoreSums(target, feature0 + f, n, job.first_token + t, done, to);
        t += done;
      }
    }
  }
}

}  // namespace arkvale::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale::cpu {
namespace {

HWY_EXPORT(RunStrip);

int64_t Strips(const MatmulTarget& target) { return (target.weight.rows + kStripRows - 1) / kStripRows; }

void RunPass(const TilesJob& job) {
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
  for (int64_t first = 0; first < x.rows; first += kMaxTokens) {
    const int64_t n = std::min(kMaxTokens, x.rows - first);
    RunPass({ctx, {x.row(first), n, x.cols, x.stride}, targets, first});
  }
}

}  // namespace arkvale::cpu
#endif  // HWY_ONCE
