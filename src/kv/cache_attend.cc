// KvCache::Attend: what each row of a batch reads.
#include <algorithm>
#include <cstring>

#include "base/bad_alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "kv/cache_impl.h"
#include "kv/observer.h"
#include "ops/merge_state.h"
#include "ops/paged_attention.h"
#include "ops/prefill_attention.h"
#include "ops/zone_attention.h"

namespace arkvale {
namespace {

MatrixView Rows(const MatrixView& m, const BatchRows& rows) { return {m.row(rows.first), rows.n, m.cols, m.stride}; }

// The blocks from `first_block` on that hold the first `n_tokens` tokens, to the end of the view's open row.
void AddBlocks(const BlockList& list, int64_t first_block, int64_t n_tokens, PagedView& view) {
  for (int64_t b = first_block; b * kBlockTokens < n_tokens; ++b) {
    view.AddPage(list.PageId(b, kBlockTokens), b * kBlockTokens);
  }
  view.EndRow(static_cast<int32_t>((n_tokens - 1) % kBlockTokens) + 1);
}

}  // namespace

// One row over every block that the next `n_tokens` tokens leave readable; a sliding layer starts at its window.
void KvCache::Impl::AddAllRows(int32_t layer, const LayerState& state, int64_t n_tokens, const AttentionRows& rows,
                               PagedView& out_view) const {
  const int32_t window = config.shape.layers[layer].window;
  const int64_t from = window > 0 ? std::max<int64_t>(0, n_tokens - window) : 0;
  const int64_t first_block = from / kBlockTokens;
  out_view.BeginRow(0, rows.q, rows.out, rows.lse, static_cast<int32_t>(from - first_block * kBlockTokens));
  AddBlocks(state.list, first_block, n_tokens, out_view);
}

Status KvCache::Impl::AttendPrefill(int32_t layer, const BatchRows& rows, const MatrixView& q, const MatrixView& out) {
  const KvLayerShape& shape = config.shape.layers[layer];
  const LayerState& state = rows.seq->layers[layer];
  const int64_t n_before = state.n_cells(rows.seq->n_tokens), n_tokens = n_before + rows.n;
  // Oldest position that any token of the chunk reads.
  const int64_t from = shape.window > 0 ? std::max<int64_t>(0, n_before + 1 - shape.window) : 0;
  const bool watches = Watches(rows, state);
  if (watches) lse.resize(rows.n * shape.n_q_heads);
  const int64_t start = NowNs();
  view.Reset(BlockLayout(pools[layer], shape));
  view.BeginRow(0);
  AddBlocks(state.list, from / kBlockTokens, n_tokens, view);
  ARKVALE_RETURN_IF_ERROR(PrefillAttention(ctx, {.kv = view.kv(),
                                                 .q_heads_per_kv_head = shape.q_per_kv(),
                                                 .scale = shape.scale,
                                                 .softcap = shape.softcap,
                                                 .q_position0 = n_before,
                                                 .window = shape.window,
                                                 .q = Rows(q, rows),
                                                 .out = Rows(out, rows),
                                                 .lse = watches ? lse.data() : nullptr}));
  timings.attention_ns += NowNs() - start;
  return watches ? WatchPrefill(layer, rows, view.kv(), Rows(q, rows)) : OkStatus();
}

// Hot pages from their slots, evicted ones through staging, joined by logsumexp.
Status KvCache::Impl::AttendPrefillMoving(int32_t layer, const BatchRows& rows, const MatrixView& q,
                                          const MatrixView& out) {
  const KvLayerShape& shape = config.shape.layers[layer];
  LayerState& state = rows.seq->layers[layer];
  const int64_t heads = shape.n_q_heads, dv = shape.head_dim_v;
  const int64_t start = NowNs();
  lse.resize(rows.n * heads);
  part_lse.resize(rows.n * heads);
  part_out.resize(rows.n * heads * dv);
  const MatrixView out_rows = Rows(out, rows);
  const auto attend = [&](PagedView& pages, const MatrixView& to, float* to_lse) {
    return PrefillAttention(ctx, {.kv = pages.kv(),
                                  .q_heads_per_kv_head = shape.q_per_kv(),
                                  .scale = shape.scale,
                                  .softcap = shape.softcap,
                                  .q_position0 = rows.seq->n_tokens,
                                  .q = Rows(q, rows),
                                  .out = to,
                                  .lse = to_lse});
  };
  view.Reset(state.pages->Layout());
  state.pages->AddHotRows(state.list, {}, view);
  ARKVALE_RETURN_IF_ERROR(attend(view, out_rows, lse.data()));
  const MatrixView part{part_out.data(), rows.n, heads * dv, heads * dv};
  const auto add_page = [&](PagedView& pages) {
    ARKVALE_RETURN_IF_ERROR(attend(pages, part, part_lse.data()));
    for (int64_t i = 0; i < rows.n; ++i) {
      MergeState(heads, dv, out_rows.row(i), lse.data() + i * heads, part.row(i), part_lse.data() + i * heads);
    }
    return OkStatus();
  };
  ARKVALE_RETURN_IF_ERROR(state.pages->ForEachEvicted(state.list, rows.seq->n_tokens + rows.n, {}, add_page));
  timings.attention_ns += NowNs() - start;
  return OkStatus();
}

// AttendKind::kAll: what the policy left out is attended after all.
Status KvCache::Impl::MergeEvicted(int32_t layer, LayerState& state, const AttentionRows& rows) {
  const KvLayerShape& shape = config.shape.layers[layer];
  const int64_t heads = shape.n_q_heads;
  part_lse.resize(heads);
  part_out.resize(heads * shape.head_dim_v);
  const AttentionRows part{rows.q, part_out.data(), part_lse.data()};
  return state.pages->ForEachEvicted(state.list, int64_t{state.pages->table().n_pages()} * state.pages->page_tokens(),
                                     part, [&](PagedView& pages) {
                                       ARKVALE_RETURN_IF_ERROR(PagedAttention(ctx, pages.Args(shape)));
                                       MergeState(heads, shape.head_dim_v, rows.out, rows.lse, part.out, part.lse);
                                       return OkStatus();
                                     });
}

// What the steps do not read but estimate (algorithms 4.4b), one call for all that code their pages alike.
Status KvCache::Impl::MergeZones(int32_t layer) {
  const auto has_zone = [](const PagedStep& step) { return step.state->pages->has_zone(); };
  if (std::none_of(paged_steps.begin(), paged_steps.end(), has_zone)) return OkStatus();
  const KvLayerShape& shape = config.shape.layers[layer];
  const int64_t heads = shape.n_q_heads, dv = shape.head_dim_v;
  part_out.resize(paged_steps.size() * heads * dv);
  part_lse.resize(paged_steps.size() * heads);
  const auto part = [&](size_t i) {
    return AttentionRows{paged_steps[i].rows.q, part_out.data() + i * heads * dv, part_lse.data() + i * heads};
  };
  const auto same = [](const ZoneAttentionArgs& a, const ZoneAttentionArgs& b) {
    return a.digest_type == b.digest_type && a.value_bits == b.value_bits && a.page_tokens == b.page_tokens;
  };
  for (size_t i = 0; i < paged_steps.size(); ++i) {
    ZoneAttentionArgs args = paged_steps[i].state->pages->ZoneArgs();
    const auto joins = [&](size_t j) {
      return has_zone(paged_steps[j]) && same(paged_steps[j].state->pages->ZoneArgs(), args);
    };
    bool done = !has_zone(paged_steps[i]);
    for (size_t j = 0; j < i; ++j) done |= joins(j);
    if (done) continue;
    zone_items.clear();
    for (size_t j = i; j < paged_steps.size(); ++j) {
      if (!joins(j)) continue;
      const PagedStep& step = paged_steps[j];
      step.state->pages->AddZoneItems(part(j), scratch.choices[step.choice], zone_items);
    }
    args.items = zone_items;
    ARKVALE_RETURN_IF_ERROR(ZoneAttention(ctx, args));
  }
  for (size_t i = 0; i < paged_steps.size(); ++i) {
    const AttentionRows& to = paged_steps[i].rows;
    if (has_zone(paged_steps[i])) MergeState(heads, dv, to.out, to.lse, part(i).out, part(i).lse);
  }
  return OkStatus();
}

// Sequences of the batch share every loop: one attention call for those that read all their blocks, one choice of pages
// for those beyond their budgets, and one attention call per shape of page for what those read.
Status KvCache::Impl::AttendSteps(int32_t layer, const MatrixView& q, const MatrixView& out) {
  const KvLayerShape& shape = config.shape.layers[layer];
  lse.resize(n_rows * shape.n_q_heads);
  const auto rows_of = [&](const BatchRows& b) {
    return AttentionRows{q.row(b.first), out.row(b.first), lse.data() + b.first * shape.n_q_heads};
  };
  choices.clear();
  paged_steps.clear();
  view.Reset(BlockLayout(pools[layer], shape));
  for (const BatchRows& b : batch) {
    if (b.phase != KvPhase::kStep) continue;
    LayerState& state = b.seq->layers[layer];
    const bool chooses = state.pages != nullptr && state.pages->over_budget();
    // Within its budget, and where RAM is read in place, a sequence reads its blocks like a dense one: same bits.
    if (state.pages == nullptr || (!chooses && mover == std::nullopt)) {
      AddAllRows(layer, state, state.n_cells(b.seq->n_tokens) + 1, rows_of(b), view);
      continue;
    }
    paged_steps.push_back({&state, rows_of(b), choices.size()});
    if (chooses) choices.push_back({state.pages.get(), &state.list, q.row(b.first)});
  }
  if (view.n_rows() > 0) {
    const int64_t start = NowNs();
    ARKVALE_RETURN_IF_ERROR(PagedAttention(ctx, view.Args(shape)));
    timings.attention_ns += NowNs() - start;
    ARKVALE_RETURN_IF_ERROR(WatchSteps(layer, q));
  }
  if (!choices.empty()) ARKVALE_RETURN_IF_ERROR(LayerPages::SelectForSteps(choices));
  return AttendPagedSteps(layer);
}

Status KvCache::Impl::AttendPagedSteps(int32_t layer) {
  const KvLayerShape& shape = config.shape.layers[layer];
  for (size_t i = 0; i < paged_steps.size(); ++i) {
    const PagedKv layout = paged_steps[i].state->pages->Layout();
    const auto joins = [&](size_t j) {
      const PagedKv other = paged_steps[j].state->pages->Layout();
      return other.k_base == layout.k_base && other.page_tokens == layout.page_tokens &&
             other.heads_per_row == layout.heads_per_row;
    };
    bool done = false;
    for (size_t j = 0; j < i; ++j) done |= joins(j);
    if (done) continue;
    const int64_t start = NowNs();
    view.Reset(layout);
    for (size_t j = i; j < paged_steps.size(); ++j) {
      const PagedStep& step = paged_steps[j];
      if (joins(j)) step.state->pages->AddStepRows(step.state->list, step.rows, view);
    }
    const int64_t listed = NowNs();
    timings.select_ns += listed - start;
    ARKVALE_RETURN_IF_ERROR(PagedAttention(ctx, view.Args(shape)));
    timings.attention_ns += NowNs() - listed;
  }
  const int64_t start = NowNs();
  ARKVALE_RETURN_IF_ERROR(MergeZones(layer));
  for (const PagedStep& step : paged_steps) {
    if (step.state->pages->attend() == AttendKind::kAll) {
      ARKVALE_RETURN_IF_ERROR(MergeEvicted(layer, *step.state, step.rows));
    }
  }
  timings.attention_ns += NowNs() - start;
  return OkStatus();
}

Status KvCache::Impl::Attend(int32_t layer, const MatrixView& q, const MatrixView& out) {
  const KvLayerShape& shape = config.shape.layers[layer];
  ARKVALE_CHECK(!batch.empty());
  if (q.rows != n_rows || out.rows != n_rows || q.cols != int64_t{shape.n_q_heads} * shape.head_dim_k ||
      out.cols != int64_t{shape.n_q_heads} * shape.head_dim_v) {
    return InvalidArgument("Attend: q and out do not have the batch's rows and the layer's heads");
  }
  if (observer != nullptr) ARKVALE_RETURN_IF_ERROR(Observe(layer, q));
  bool any_step = false;
  for (const BatchRows& rows : batch) {
    LayerState& state = rows.seq->layers[layer];
    if (shape.window == 0) state.queries.Put(Rows(q, rows));
    if (rows.phase == KvPhase::kStep) {
      any_step = true;
      continue;
    }
    const bool moving = state.pages != nullptr && mover != std::nullopt;
    ARKVALE_RETURN_IF_ERROR(moving ? AttendPrefillMoving(layer, rows, q, out) : AttendPrefill(layer, rows, q, out));
    if (rows.phase == KvPhase::kPrefillLast && state.pages != nullptr) {
      ARKVALE_RETURN_IF_ERROR(state.pages->SelectAfterPrefill(state.list, state.queries.Newest()));
    }
  }
  return any_step ? AttendSteps(layer, q, out) : OkStatus();
}

void KvCache::SetObserver(KvObserver* observer) { impl_->observer = observer; }

Status KvCache::Impl::Observe(int32_t layer, const MatrixView& q) {
  if (config.shape.layers[layer].window > 0) return OkStatus();
  for (size_t i = 0; i < batch.size(); ++i) {
    const BatchRows& rows = batch[i];
    const LayerState& state = rows.seq->layers[layer];
    const int64_t n_tokens = rows.seq->n_tokens + rows.n;
    const bool reads_in_place = state.pages == nullptr || mover == std::nullopt;
    const bool holds_all = state.tokens == nullptr || state.tokens->holds_all();
    if (rows.phase == KvPhase::kPrefill || !reads_in_place || !holds_all) continue;
    view.Reset(BlockLayout(pools[layer], config.shape.layers[layer]));
    AddAllRows(layer, state, n_tokens, {}, view);
    ARKVALE_RETURN_IF_ERROR(observer->OnQuery({.layer = layer,
                                               .item = static_cast<int32_t>(i),
                                               .phase = rows.phase,
                                               .n_tokens = n_tokens,
                                               .queries = Rows(q, rows),
                                               .kv = view.kv()}));
  }
  return OkStatus();
}

Status KvCache::Attend(int32_t layer, const MatrixView& q, const MatrixView& out) {
  return CatchBadAlloc([&] { return impl_->Attend(layer, q, out); });
}

}  // namespace arkvale
