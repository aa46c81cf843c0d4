#include "model/ffn.h"

#include <algorithm>
#include <utility>

#include "ops/experts.h"
#include "ops/glu.h"

namespace arkvale {

namespace {

// The rows listed (increasing, of `all`) as a set of their own, each on its path.
void Subset(const RowSet& all, std::span<const int64_t> rows, RowSet& subset) {
  subset.Clear();
  size_t span = 0;
  for (const int64_t row : rows) {
    while (row >= all.spans[span].end) ++span;
    subset.Add(1, all.spans[span].path);
  }
}

// The weights of one of the experts.
LayerWeights ExpertWeights(const ModelConfig& c, const LayerWeights& w, int32_t expert) {
  LayerWeights one;
  one.gate.weight = RowSlice(w.gate.weight, int64_t{expert} * c.d_ff_expert, c.d_ff_expert);
  one.up.weight = RowSlice(w.up.weight, int64_t{expert} * c.d_ff_expert, c.d_ff_expert);
  one.down.weight = RowSlice(w.down.weight, int64_t{expert} * c.d_model, c.d_model);
  return one;
}

}  // namespace

void Ffn::Reserve(const ModelConfig& c, int64_t n) {
  const int64_t d_ff = c.n_experts > 0 ? c.d_ff_expert : c.d_ff;
  gate_.Reserve(n, d_ff);
  up_.Reserve(n, d_ff);
  if (c.n_experts == 0) return;
  logits_.Reserve(n, c.n_experts);
  in_.Reserve(n, c.d_model);
  down_.Reserve(n, c.d_model);
  const auto choices = static_cast<size_t>(n * c.n_experts_used);
  ids_.resize(std::max(ids_.size(), choices));
  weights_.resize(ids_.size());
  expert_rows_.resize(ids_.size());
  expert_weights_.resize(ids_.size());
  expert_begin_.resize(static_cast<size_t>(c.n_experts) + 1);
}

Status Ffn::RunDense(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& w,
                     const MatrixView& x, const MatmulTarget& down) {
  const MatrixView gate = gate_.Rows(rows.n), up = up_.Rows(rows.n);
  ARKVALE_RETURN_IF_ERROR(Project(ctx, rows, x, {Target(w.gate, gate), Target(w.up, up)}));
  ARKVALE_RETURN_IF_ERROR(Glu(ctx, config.glu, gate, up, gate));
  return Project(ctx, rows, gate, {down});
}

// Counting sort of (row, weight) by expert; rows stay in order.
void Ffn::SortByExpert(const ModelConfig& c, int64_t n) {
  const auto used = static_cast<size_t>(c.n_experts_used), choices = static_cast<size_t>(n) * used;
  std::fill(expert_begin_.begin(), expert_begin_.end(), 0);
  for (size_t i = 0; i < choices; ++i) ++expert_begin_[static_cast<size_t>(ids_[i])];
  int64_t begin = 0;
  for (int64_t& count : expert_begin_) begin += std::exchange(count, begin);
  for (size_t i = 0; i < choices; ++i) {
    const auto at = static_cast<size_t>(expert_begin_[static_cast<size_t>(ids_[i])]++);
    expert_rows_[at] = static_cast<int64_t>(i / used);
    expert_weights_[at] = weights_[i];
  }
  // Each begin has moved to its end: the begin of the next.
  std::copy_backward(expert_begin_.begin(), expert_begin_.end() - 1, expert_begin_.end());
  expert_begin_[0] = 0;
}

Status Ffn::RunExpert(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& expert,
                      const MatrixView& x, const Chosen& chosen, const MatrixView& out) {
  Subset(rows, chosen.rows, expert_set_);
  const MatrixView in = in_.Rows(expert_set_.n), down = down_.Rows(expert_set_.n);
  ARKVALE_RETURN_IF_ERROR(GatherRows(ctx, x, chosen.rows, in));
  ARKVALE_RETURN_IF_ERROR(RunDense(ctx, config, expert_set_, expert, in, Target(expert.down, down)));
  return ScatterAddRows(ctx, down, chosen.rows, chosen.weights, out);
}

Status Ffn::Run(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& w,
                const MatrixView& x, const MatrixView& out, bool add) {
  if (config.n_experts == 0) return RunDense(ctx, config, rows, w, x, Target(w.down, out, add));
  const MatrixView logits = logits_.Rows(rows.n);
  const auto choices = static_cast<size_t>(rows.n * config.n_experts_used);
  ARKVALE_RETURN_IF_ERROR(Project(ctx, rows, x, {Target(w.router, logits)}));
  ARKVALE_RETURN_IF_ERROR(
      RouteExperts(ctx, logits, config.n_experts_used, {ids_.data(), choices}, {weights_.data(), choices}));
  SortByExpert(config, rows.n);
  for (int64_t i = 0; !add && i < rows.n; ++i) std::fill_n(out.row(i), out.cols, 0.0f);
  for (int32_t e = 0; e < config.n_experts; ++e) {
    const auto begin = static_cast<size_t>(expert_begin_[static_cast<size_t>(e)]);
    const auto n = static_cast<size_t>(expert_begin_[static_cast<size_t>(e) + 1]) - begin;
    if (n == 0) continue;
    const Chosen chosen{{expert_rows_.data() + begin, n}, {expert_weights_.data() + begin, n}};
    ARKVALE_RETURN_IF_ERROR(RunExpert(ctx, config, rows, ExpertWeights(config, w, e), x, chosen, out));
  }
  return OkStatus();
}

}  // namespace arkvale
