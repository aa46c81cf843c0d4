// Prefill attention in FlashAttention-2's loop order. A task is a kv head and a tile of query tokens; tile row
// i * G + g is query head g of the kv head's G, token i. For each unit of 64 positions K is transposed and V copied to
// f32 once, then all rows of the tile use them. A row's arithmetic is the same in whatever tile it lies.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/prefill_attention_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/row_kernels_inl.h"
#include "ops/tile_kernels_inl.h"

#ifndef ARKVALE_OPS_PREFILL_ATTENTION_CPU_ONCE_
#define ARKVALE_OPS_PREFILL_ATTENTION_CPU_ONCE_

#include <cmath>
#include <limits>
#include <utility>

#include "ops/cpu_kernels.h"

namespace arkvale {

constexpr int64_t kUnitTokens = 64;

struct PrefillTask {
  int32_t row, head;  // head: inside the row
  int64_t first;      // of the chunk's tokens
  int64_t n;          // tokens
};

// A stretch of a row's list that lies in one unit, as pointers to each position's K and V.
template <typename T>
struct PrefillUnit {
  int64_t position = 0;  // multiple of 64
  uint64_t listed = 0;   // bit j: position + j is in the list
  const T* k[kUnitTokens];
  const T* v[kUnitTokens];
};

// Collects the unit that starts at list index i and returns the index after it.
template <typename T>
int64_t CollectUnit(const PagedKv& kv, int32_t row, int32_t head, int64_t i, const T* zeros, PrefillUnit<T>& unit) {
  unit.position = kv.page_positions[i] / kUnitTokens * kUnitTokens;
  unit.listed = 0;
  std::fill(unit.k, unit.k + kUnitTokens, zeros);
  std::fill(unit.v, unit.v + kUnitTokens, zeros);
  const int64_t begin = kv.page_begin[row], end = kv.page_begin[row + 1];
  for (; i < end && kv.page_positions[i] < unit.position + kUnitTokens; ++i) {
    const int64_t from = i == begin && kv.first_page_skip != nullptr ? kv.first_page_skip[row] : 0;
    const int64_t to = i + 1 == end ? kv.last_page_tokens[row] : kv.page_tokens;
    const auto* k = reinterpret_cast<const T*>(KeyPage(kv, kv.page_ids[i], kv.head0[row] + head));
    const auto* v = reinterpret_cast<const T*>(ValuePage(kv, kv.page_ids[i], kv.head0[row] + head));
    const int64_t column = kv.page_positions[i] - unit.position;
    for (int64_t t = from; t < to; ++t) {
      unit.k[column + t] = k + t * RowStride<T>(kv.head_dim_k);
      unit.v[column + t] = v + t * RowStride<T>(kv.head_dim_v);
      unit.listed |= uint64_t{1} << (column + t);
    }
  }
  return i;
}

// Bits of a unit's positions inside [from, to].
inline uint64_t PositionBits(int64_t unit_position, int64_t from, int64_t to) {
  const int64_t low = std::max<int64_t>(0, from - unit_position), high = std::min(kUnitTokens - 1, to - unit_position);
  if (low > high) return 0;
  return (~uint64_t{0} >> (kUnitTokens - 1 - high)) & (~uint64_t{0} << low);
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_PREFILL_ATTENTION_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

struct PrefillTile {
  int64_t rows;                       // padded to a multiple of kTileRows
  float *q, *k, *v, *products, *out;  // [rows, dk], panels, panels, [rows, 64], [rows, padded dv]
  float *max, *older, *sums;          // [rows], [rows], [rows, kN]
  void* zeros;                        // a row of K or V
};

inline PrefillTile MakeTile(const PagedKv& kv, int64_t rows, Workspace& workspace, int thread) {
  rows = (rows + kTileRows - 1) / kTileRows * kTileRows;
  const int64_t dv = RowCut(kv.head_dim_v).padded();
  const int64_t sizes[] = {rows * kv.head_dim_k,
                           kUnitTokens * kv.head_dim_k,
                           kUnitTokens * dv,
                           rows * kUnitTokens,
                           rows * dv,
                           rows,
                           rows,
                           rows * kN,
                           std::max(kv.head_dim_k, kv.head_dim_v)};
  int64_t total = 0;
  for (const int64_t size : sizes) total += (size + 15) / 16 * 16;
  auto* at = static_cast<float*>(workspace.PerThread(thread, total * sizeof(float)));
  auto take = [&, i = 0]() mutable { return std::exchange(at, at + (sizes[i++] + 15) / 16 * 16); };
  PrefillTile tile{};
  tile.rows = rows;
  for (float** field : {&tile.q, &tile.k, &tile.v, &tile.products, &tile.out, &tile.max, &tile.older, &tile.sums}) {
    *field = take();
  }
  tile.zeros = take();
  std::fill(tile.q, tile.q + sizes[0], 0.0f);
  std::fill(tile.out, tile.out + sizes[4], 0.0f);
  std::fill(tile.max, tile.max + rows, -1e30f);
  std::fill(tile.older, tile.older + rows, 1.0f);
  std::fill(tile.sums, tile.sums + sizes[7], 0.0f);
  std::memset(tile.zeros, 0, sizes[8] * sizeof(float));
  return tile;
}

inline int64_t FirstQueryHead(const PrefillAttentionArgs& args, const PrefillTask& task) {
  return (int64_t{task.row} * args.kv.heads_per_row + task.head) * args.q_heads_per_kv_head;
}

template <typename T>
void ConvertUnit(const PagedKv& kv, const PrefillUnit<T>& unit, const PrefillTile& tile) {
  const RowCut k_cut(kv.head_dim_k), v_cut(kv.head_dim_v);
  if (k_cut.is_short()) {
    TransposeRows<true>(k_cut, unit.k, tile.k);
  } else {
    TransposeRows<false>(k_cut, unit.k, tile.k);
  }
  if (v_cut.is_short()) {
    PackRows<true>(v_cut, unit.v, tile.v);
  } else {
    PackRows<false>(v_cut, unit.v, tile.v);
  }
}

template <bool kCapped>
void SoftmaxUnit(const PrefillAttentionArgs& args, const PrefillTask& task, int64_t position, uint64_t listed,
                 const PrefillTile& tile) {
  const int64_t n_heads = args.q_heads_per_kv_head;
  for (int64_t i = 0; i < task.n; ++i) {
    const int64_t to = args.q_position0 + task.first + i;
    const int64_t from = args.window == 0 ? 0 : to - args.window + 1;
    const uint64_t visible = listed & PositionBits(position, from, to);
    for (int64_t r = i * n_heads; r < (i + 1) * n_heads; ++r) {
      tile.older[r] = SoftmaxStep<kCapped>(tile.products + r * kUnitTokens, args.scale, args.softcap, visible,
                                           &tile.max[r], tile.sums + r * kN);
    }
  }
}

inline void AttendUnit(const PrefillAttentionArgs& args, const PrefillTask& task, int64_t position, uint64_t listed,
                       const PrefillTile& tile) {
  const RowCut v_cut(args.kv.head_dim_v);
  UnitProducts(tile.rows, tile.q, args.kv.head_dim_k, tile.k, tile.products);
  if (args.softcap > 0) {
    SoftmaxUnit<true>(args, task, position, listed, tile);
  } else {
    SoftmaxUnit<false>(args, task, position, listed, tile);
  }
  for (int64_t first = 0; first < v_cut.n_vec; first += kTileVecs) {
    PanelProduct(tile.rows, std::min<int64_t>(kTileVecs, v_cut.n_vec - first), tile.products, kUnitTokens,
                 tile.v + first * kN * kUnitTokens, kUnitTokens, tile.out + first * kN, v_cut.padded(), true,
                 tile.older);
  }
}

inline void FinishTile(const PrefillAttentionArgs& args, const PrefillTask& task, const PrefillTile& tile) {
  const RowCut cut(args.kv.head_dim_v);
  const int64_t n_heads = args.q_heads_per_kv_head, head0 = FirstQueryHead(args, task);
  const int64_t n_q_heads = int64_t{args.kv.n_rows} * args.kv.heads_per_row * n_heads;
  for (int64_t r = 0; r < task.n * n_heads; ++r) {
    const int64_t token = task.first + r / n_heads, head = head0 + r % n_heads;
    const float sum = hn::GetLane(hn::SumOfLanes(DF(), hn::LoadU(DF(), tile.sums + r * kN)));
    float* out = args.out.row(token) + head * cut.length;
    UnpackRow(cut, tile.out + r * cut.padded(), sum == 0 ? 0.0f : 1.0f / sum, out);
    // A masked token may turn a -0 that underflow left into +0; make that invisible.
    for (int64_t t = 0; t < cut.length; ++t) out[t] += 0.0f;
    if (args.lse == nullptr) continue;
    args.lse[token * n_q_heads + head] =
        sum == 0 ? -std::numeric_limits<float>::infinity() : tile.max[r] + std::log(sum);
  }
}

template <typename T>
void RunTile(const PrefillAttentionArgs& args, const PrefillTask& task, const PrefillTile& tile) {
  const PagedKv& kv = args.kv;
  const int64_t n_heads = args.q_heads_per_kv_head, head0 = FirstQueryHead(args, task);
  for (int64_t i = 0; i < task.n; ++i) {
    const float* q = args.q.row(task.first + i) + head0 * kv.head_dim_k;
    std::copy(q, q + n_heads * kv.head_dim_k, tile.q + i * n_heads * kv.head_dim_k);
  }
  // Padding rows never go through the softmax: their products stay 0 because their queries are 0.
  const int64_t first_position = args.q_position0 + task.first, last_position = first_position + task.n - 1;
  const int64_t oldest = args.window == 0 ? 0 : std::max<int64_t>(0, first_position - args.window + 1);
  const int64_t* positions = kv.page_positions;
  const int64_t end = kv.page_begin[task.row + 1];
  int64_t i =
      std::lower_bound(positions + kv.page_begin[task.row], positions + end, oldest / kUnitTokens * kUnitTokens) -
      positions;
  PrefillUnit<T> unit;
  while (i < end && positions[i] <= last_position) {
    i = CollectUnit(kv, task.row, task.head, i, static_cast<const T*>(tile.zeros), unit);
    if ((unit.listed & PositionBits(unit.position, oldest, last_position)) == 0) continue;
    ConvertUnit(kv, unit, tile);
    AttendUnit(args, task, unit.position, unit.listed, tile);
  }
  FinishTile(args, task, tile);
}

void RunPrefillTask(const PrefillAttentionArgs& args, const PrefillTask& task, Workspace& workspace, int thread) {
  const PrefillTile tile = MakeTile(args.kv, task.n * args.q_heads_per_kv_head, workspace, thread);
  ForRowType(args.kv.dtype, [&](auto t) { RunTile<decltype(t)>(args, task, tile); });
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunPrefillTask);

namespace cpu {

Status PrefillAttention(const OpContext& ctx, const PrefillAttentionArgs& args) {
  // Rows of a tile share one conversion of K and V: more rows cost less, as long as every thread has some tiles.
  constexpr int64_t kLargeTileRows = 192, kSmallTileRows = 96, kTilesPerThread = 8;
  const int64_t kv_heads = int64_t{args.kv.n_rows} * args.kv.heads_per_row, n = args.q.rows;
  const auto tile_tokens = [&](int64_t rows) { return std::max<int64_t>(1, rows / args.q_heads_per_kv_head); };
  const auto tiles = [&](int64_t tokens) { return (n + tokens - 1) / tokens; };
  int64_t tokens = tile_tokens(kLargeTileRows);
  if (tiles(tokens) * kv_heads < kTilesPerThread * ctx.pool->n_threads()) tokens = tile_tokens(kSmallTileRows);
  const int64_t n_tiles = tiles(tokens);
  const auto run = HWY_DYNAMIC_DISPATCH(RunPrefillTask);
  ctx.pool->ParallelFor(n_tiles * kv_heads, [&](int64_t i, int thread) {
    const int64_t tile = n_tiles - 1 - i / kv_heads;  // the last tokens have most to read: begin with them
    const auto head = static_cast<int32_t>(i % kv_heads);
    const PrefillTask task{head / args.kv.heads_per_row, head % args.kv.heads_per_row, tile * tokens,
                           std::min(tokens, n - tile * tokens)};
    run(args, task, *ctx.workspace, thread);
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
