// Attention mass on the CPU. A task is a kv head and a stretch of its list: K is transposed once per unit of 64 keys,
// then all queries pass by in tiles, in order. A column's arithmetic is the same wherever it lies in its unit.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention_mass_cpu.cc"
#include "ops/simd.h"
// After simd.h
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
// After highway.h
#include "ops/key_tiles_inl.h"

#ifndef ARKVALE_OPS_ATTENTION_MASS_CPU_ONCE_
#define ARKVALE_OPS_ATTENTION_MASS_CPU_ONCE_

#include <cmath>
#include <limits>

#include "ops/cpu_kernels.h"
#include "ops/row_strips.h"

namespace arkvale {

constexpr int64_t kMassTaskUnits = 8;
constexpr int64_t kMassTileRows = 96;  // of queries whose products stay in L1

struct MassTask {
  int32_t row, head;   // head: inside the row
  int64_t begin, end;  // units of the row's list
};

// Queries of each kv head together: row i * q_heads_per_kv_head + g is its query head g of token i.
struct MassQueries {
  int64_t rows;   // per kv head: tokens * q_heads_per_kv_head
  float* q;       // [n_kv_heads, rows, head_dim_k]
  float* shifts;  // [n_kv_heads, rows] lse; where that is -inf, inf: exp(score - shift) is 0
};

inline void PackTokens(const AttentionMassArgs& args, int64_t begin, int64_t end, const MassQueries& packed) {
  const int64_t kv_heads = int64_t{args.kv.n_rows} * args.kv.heads_per_row, n_heads = args.q_heads_per_kv_head;
  const int64_t row = n_heads * args.kv.head_dim_k;
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t e = 0; e < kv_heads; ++e) {
      std::copy_n(args.q.row(i) + e * row, row, packed.q + e * packed.rows * args.kv.head_dim_k + i * row);
      for (int64_t g = 0; g < n_heads; ++g) {
        const float lse = args.lse[(i * kv_heads + e) * n_heads + g];
        packed.shifts[e * packed.rows + i * n_heads + g] =
            lse == -std::numeric_limits<float>::infinity() ? std::numeric_limits<float>::infinity() : lse;
      }
    }
  }
}

}  // namespace arkvale

#endif  // ARKVALE_OPS_ATTENTION_MASS_CPU_ONCE_

HWY_BEFORE_NAMESPACE();
namespace arkvale {
namespace HWY_NAMESPACE {

struct MassScratch {
  float *panels, *products, *sums;  // [64, head_dim_k] transposed, [tile rows, 64], [64]
  int32_t* visible;                 // [tile tokens]
};

// Whole blocks of TileProduct, but in the last tile.
inline int64_t TileTokens(int64_t n_heads) {
  return std::max<int64_t>(1, kMassTileRows / (n_heads * kTileRows)) * kTileRows;
}

inline MassScratch MakeMassScratch(const AttentionMassArgs& args, Workspace& workspace, int thread) {
  const int64_t tokens = std::min(TileTokens(args.q_heads_per_kv_head), args.q.rows);
  const int64_t rows = tokens * args.q_heads_per_kv_head, panels = kUnitKeys * args.kv.head_dim_k;
  const int64_t floats = panels + rows * kUnitKeys + kUnitKeys;
  auto* base = static_cast<float*>(
      workspace.PerThread(thread, floats * sizeof(float) + static_cast<size_t>(tokens) * sizeof(int32_t)));
  return {base, base + panels, base + panels + rows * kUnitKeys, reinterpret_cast<int32_t*>(base + floats)};
}

// sums += the shares of a unit's keys in all queries from `first` on.
template <typename T>
void AddUnit(const AttentionMassArgs& args, const KeyUnit<T>& unit, int64_t first, const float* q, const float* shifts,
             const MassScratch& s) {
  const int64_t n_heads = args.q_heads_per_kv_head, dim = args.kv.head_dim_k, tile = TileTokens(n_heads);
  const ShareRule rule{args.scale, args.softcap, 1.0f / static_cast<float>(n_heads)};
  for (int64_t at = first / tile * tile; at < args.q.rows; at += tile) {
    const int64_t n = std::min(tile, args.q.rows - at);
    for (int64_t i = 0; i < n; ++i) s.visible[i] = KeysUpTo(unit, args.q_position0 + at + i);
    UnitProducts(n * n_heads, q + at * n_heads * dim, dim, s.panels, s.products);
    AddShares(rule, s.products, shifts + at * n_heads, s.visible, n, n_heads, s.sums);
  }
}

template <typename T>
void RunMass(const AttentionMassArgs& args, const MassTask& task, const MassQueries& packed, const MassScratch& s) {
  const int64_t kv_head = int64_t{task.row} * args.kv.heads_per_row + task.head;
  float* const mass = args.mass + kv_head * args.mass_stride;
  KeyUnit<T> units[2];
  if (task.begin < task.end) CollectKeys(args.kv, task.row, task.head, task.begin, units[0]);
  for (int64_t u = task.begin; u < task.end; ++u) {
    const KeyUnit<T>& unit = units[(u - task.begin) % 2];
    KeyUnit<T>* const next = u + 1 < task.end ? &units[(u + 1 - task.begin) % 2] : nullptr;
    if (next != nullptr) CollectKeys(args.kv, task.row, task.head, u + 1, *next);
    const int64_t first = std::max<int64_t>(0, unit.position[0] - args.q_position0);
    if (first >= args.q.rows) return;
    if (unit.listed == 0) continue;
    TransposeKeys(unit, args.kv.head_dim_k, s.panels, next);
    for (int64_t j = 0; j < kUnitKeys; ++j) s.sums[j] = (unit.listed >> j & 1) != 0 ? mass[unit.position[j]] : 0;
    AddUnit(args, unit, first, packed.q + kv_head * packed.rows * args.kv.head_dim_k,
            packed.shifts + kv_head * packed.rows, s);
    for (int64_t j = 0; j < kUnitKeys; ++j) {
      if ((unit.listed >> j & 1) != 0) mass[unit.position[j]] = s.sums[j];
    }
  }
}

void RunMassTask(const AttentionMassArgs& args, const MassTask& task, const MassQueries& packed, Workspace& workspace,
                 int thread) {
  const MassScratch scratch = MakeMassScratch(args, workspace, thread);
  ForRowType(args.kv.dtype, [&](auto t) { RunMass<decltype(t)>(args, task, packed, scratch); });
}

}  // namespace HWY_NAMESPACE
}  // namespace arkvale
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arkvale {
HWY_EXPORT(RunMassTask);

namespace cpu {

Status AttentionMass(const OpContext& ctx, const AttentionMassArgs& args) {
  const PagedKv& kv = args.kv;
  const int64_t kv_heads = int64_t{kv.n_rows} * kv.heads_per_row, n = args.q.rows, dim = kv.head_dim_k;
  const int64_t rows = n * args.q_heads_per_kv_head;
  auto* q = static_cast<float*>(ctx.workspace->Shared(0, kv_heads * rows * dim * sizeof(float)));
  auto* shifts = static_cast<float*>(ctx.workspace->Shared(1, kv_heads * rows * sizeof(float)));
  const MassQueries packed{rows, q, shifts};
  ForRowStrips(ctx, n, kv_heads * args.q_heads_per_kv_head * dim,
               [&](int64_t begin, int64_t end) { PackTokens(args, begin, end, packed); });

  int64_t units = 0;
  for (int32_t row = 0; row < kv.n_rows; ++row) units = std::max(units, KeyUnits(kv, row));
  const int64_t stretches = (units + kMassTaskUnits - 1) / kMassTaskUnits;
  const auto run = HWY_DYNAMIC_DISPATCH(RunMassTask);
  ctx.pool->ParallelFor(stretches * kv_heads, [&](int64_t i, int thread) {
    const auto e = static_cast<int32_t>(i / stretches), row = e / kv.heads_per_row;
    const int64_t begin = i % stretches * kMassTaskUnits;
    const MassTask task{row, e % kv.heads_per_row, begin, std::min(begin + kMassTaskUnits, KeyUnits(kv, row))};
    run(args, task, packed, *ctx.workspace, thread);
  });
  return OkStatus();
}

}  // namespace cpu
}  // namespace arkvale
#endif  // HWY_ONCE
