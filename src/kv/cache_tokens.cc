// KvCache's part for policies that drop single tokens: what they learn from attention, and their forks.
#include <string>

#include "base/check.h"
#include "base/clock.h"
#include "kv/cache_impl.h"
#include "ops/prefill_attention.h"

namespace arkvale {
TokenPass KvCache::Impl::Pass(int32_t layer, const PagedKv& kv, const MatrixView& q, const float* row_lse) {
  return {
      .ctx = &ctx, .scratch = &token_scratch, .shape = &config.shape.layers[layer], .kv = kv, .q = q, .lse = row_lse};
}

bool KvCache::Impl::Watches(const BatchRows& rows, const LayerState& state) const {
  if (state.tokens != nullptr) return true;
  // Sums that miss a row are of no use any more.
  return state.sums != nullptr && state.sums->n_rows() == rows.seq->n_tokens;
}

// `lse` holds the rows' logsumexp.
Status KvCache::Impl::WatchPrefill(int32_t layer, const BatchRows& rows, const PagedKv& kv, const MatrixView& q) {
  LayerState& state = rows.seq->layers[layer];
  const int64_t start = NowNs();
  const TokenPass pass = Pass(layer, kv, q, lse.data());
  if (state.tokens != nullptr) {
    ARKVALE_RETURN_IF_ERROR(
        state.tokens->AfterPrefill(pass, rows.phase == KvPhase::kPrefillLast, /*queries=*/state.queries));
  } else {
    ARKVALE_RETURN_IF_ERROR(AddAttention(pass, rows.seq->n_tokens + rows.n, *state.sums));
  }
  timings.estimate_ns += NowNs() - start;
  return OkStatus();
}

Status KvCache::Impl::WatchSteps(int32_t layer, const MatrixView& q) {
  const KvLayerShape& shape = config.shape.layers[layer];
  const int64_t start = NowNs();
  for (const BatchRows& b : batch) {
    LayerState& state = b.seq->layers[layer];
    if (b.phase != KvPhase::kStep || !Watches(b, state)) continue;
    if (state.pages != nullptr && state.pages->over_budget()) continue;  // it does not read every token
    if (state.tokens != nullptr && !state.tokens->rule().drops_in_steps()) continue;
    const int64_t n_cells = state.n_cells(b.seq->n_tokens) + 1;
    token_view.Reset(BlockLayout(pools[layer], shape));
    if (state.tokens == nullptr || state.tokens->rule().weighs_steps()) {
      AddAllRows(layer, state, n_cells, {}, token_view);
    }
    const MatrixView row{q.row(b.first), 1, q.cols, q.stride};
    const TokenPass pass = Pass(layer, token_view.kv(), row, lse.data() + b.first * shape.n_q_heads);
    ARKVALE_RETURN_IF_ERROR(state.tokens != nullptr ? state.tokens->AfterStep(pass)
                                                    : AddAttention(pass, n_cells, *state.sums));
  }
  timings.estimate_ns += NowNs() - start;
  return OkStatus();
}

Status KvCache::Impl::CheckForkTokens(const Sequence& parent, const KvOptions& options, int64_t n_tokens) const {
  bool dropped = false;
  for (const LayerState& layer : parent.layers) dropped |= layer.tokens != nullptr && !layer.tokens->holds_all();
  if (!dropped) return OkStatus();
  const std::string policy(KvPolicyName(parent.options.policy));
  if (n_tokens < parent.n_tokens) {
    return InvalidArgument("fork at depth " + std::to_string(n_tokens) + " of a sequence of " +
                           std::to_string(parent.n_tokens) + " tokens: policy " + policy +
                           " has dropped tokens for good; fork it where it is, or fork a sequence of policy full");
  }
  if (SameButCollect(parent.options, options)) return OkStatus();
  return InvalidArgument("fork with other KV options: policy " + policy +
                         " has dropped tokens for good; use the sequence's own options, or fork one of policy full");
}

// lse: of the query of the last of n_tokens tokens, with the bits that a prefill gives it.
Status KvCache::Impl::LastRowLse(int32_t layer, const PagedKv& kv, int64_t n_tokens, const MatrixView& q) {
  const KvLayerShape& shape = config.shape.layers[layer];
  const int64_t out_cols = int64_t{shape.n_q_heads} * shape.head_dim_v;
  lse.resize(shape.n_q_heads);
  part_out.resize(out_cols);
  return PrefillAttention(ctx, {.kv = kv,
                                .q_heads_per_kv_head = shape.q_per_kv(),
                                .scale = shape.scale,
                                .softcap = shape.softcap,
                                .q_position0 = n_tokens - 1,
                                .q = q,
                                .out = {part_out.data(), 1, out_cols, out_cols},
                                .lse = lse.data()});
}

// What the parent's past must tell the policy of a fork at `n_tokens` > 0.
Status KvCache::Impl::ForkTokens(int32_t layer, const Sequence& parent, int64_t n_tokens, LayerState& to) {
  const KvLayerShape& shape = config.shape.layers[layer];
  const LayerState& from = parent.layers[layer];
  const TokenRule& rule = to.tokens->rule();
  const bool whole = n_tokens == parent.n_tokens;
  const TokenMass* sums = from.sums_or_null();
  if (!whole || !rule.adds_all_rows() || (sums != nullptr && sums->n_rows() != n_tokens)) sums = nullptr;
  const std::string policy = "policy " + std::string(KvPolicyName(rule.policy));
  if (rule.adds_all_rows() && sums == nullptr) {
    return InvalidArgument(policy + " needs the attention of all " + std::to_string(n_tokens) +
                           " rows added up, which the sequence to fork has not kept: create it with "
                           "collect.column_sums = true, or use h2o-init=last-row");
  }
  const int64_t wanted = std::min<int64_t>(n_tokens, whole || rule.scores_window() ? rule.n_queries() : 0);
  if (to.queries.n_known() < wanted) {
    return InvalidArgument(
        policy + " needs the last " + std::to_string(wanted) + " queries, the sequence to fork has " +
        std::to_string(to.queries.n_known()) + " of depth " + std::to_string(n_tokens) +
        ": create it with collect.last_queries = " + std::to_string(rule.n_queries()) + " and fork it where it is");
  }
  to.tokens->Adopt(n_tokens, sums);
  if (whole) {
    view.Reset(BlockLayout(pools[layer], shape));
    AddAllRows(layer, to, n_tokens, {}, view);
    const int64_t q_cols = int64_t{shape.n_q_heads} * shape.head_dim_k;
    const bool reads_last_row = rule.n_queries() == 1;
    MatrixView q{nullptr, 0, q_cols, q_cols};
    if (reads_last_row) {
      to.queries.Gather(1, token_scratch.queries);
      q = {token_scratch.queries.data(), 1, q_cols, q_cols};
      ARKVALE_RETURN_IF_ERROR(LastRowLse(layer, view.kv(), n_tokens, q));
    }
    const TokenPass pass = Pass(layer, view.kv(), q, reads_last_row ? lse.data() : nullptr);
    ARKVALE_RETURN_IF_ERROR(to.tokens->AfterPrefill(pass, /*ends_prefill=*/true, to.queries));
    ARKVALE_RETURN_IF_ERROR(Unshare(layer, to.list, 0, to.tokens->CellsOverwritten(/*is_step=*/false)));
  }
  to.tokens->Commit(to.list, pools[layer]);
  TrimBlocks(layer, to.list, to.tokens->n_cells());
  return OkStatus();
}

}  // namespace arkvale
