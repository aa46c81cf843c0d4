// Ffn: the feed-forward part of a layer, dense or a mixture of experts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/status.h"
#include "model/batch_plan.h"
#include "model/config.h"
#include "model/project.h"
#include "model/weights.h"
#include "ops/context.h"

namespace arkvale {

// Holds the activations of one batch; one thread at a time.
class Ffn {
 public:
  // Memory for up to `n` rows. May throw bad_alloc.
  void Reserve(const ModelConfig& config, int64_t n);

  // out = FFN(x), or out += FFN(x) when `add`. x: [rows.n, d_model] normed, out: the same shape, no overlap.
  // An expert's output joins a row in the order of the experts' numbers, so that a row never depends on other rows.
  Status Run(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& w,
             const MatrixView& x, const MatrixView& out, bool add);

 private:
  // Rows of the batch that chose one expert, in order.
  struct Chosen {
    std::span<const int64_t> rows;
    std::span<const float> weights;
  };

  Status RunDense(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& w,
                  const MatrixView& x, const MatmulTarget& down);
  Status RunExpert(const OpContext& ctx, const ModelConfig& config, const RowSet& rows, const LayerWeights& expert,
                   const MatrixView& x, const Chosen& chosen, const MatrixView& out);
  void SortByExpert(const ModelConfig& config, int64_t n);

  Activation gate_, up_;
  // Of a mixture: router logits, and the rows of one expert on their way in and out.
  Activation logits_, in_, down_;
  std::vector<int32_t> ids_;           // [n * n_experts_used] experts of each row
  std::vector<float> weights_;         // their weights
  std::vector<int64_t> expert_begin_;  // [n_experts + 1] where an expert's rows begin in the next two
  std::vector<int64_t> expert_rows_;
  std::vector<float> expert_weights_;
  RowSet expert_set_;
};

}  // namespace arkvale
