// PageProbe: what a query sees of the pages of a layer, truly and by every digest. It listens to a sequence of full
// attention, so that all digests, budgets and top-k are judged on the same queries and keys (evaluation protocol 5).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kv/digest_store.h"
#include "kv/observer.h"
#include "kv/paged_view.h"
#include "kv/shape.h"
#include "ops/context.h"

namespace arkvale::tools {

// What is to be computed of each observed layer.
struct ProbeNeeds {
  int32_t page_tokens = 32;
  bool page_scores = false;  // true scores and masses of pages
  bool token_mass = false;
  std::vector<DigestKind> digests;  // estimates
  DigestType digest_type = DigestType::kF16;
};

// What one query sees of one layer. Spans are valid until the sink returns.
struct LayerSight {
  int32_t layer = 0;
  bool prefill_end = false;  // the last token of a prefill, else a step
  int64_t n_tokens = 0;      // the query's own included
  int32_t n_pages = 0;       // the filling one included
  int32_t n_filled = 0;
  int32_t n_q_heads = 0, n_kv_heads = 0;
  std::span<const float> max_qk;      // [n_q_heads, n_pages] max_i q.k_i
  std::span<const float> lse;         // [n_q_heads, n_pages] natural logsumexp of the attention scores
  std::span<const float> token_mass;  // [n_tokens] attention probability, mean over the query heads
  // Per digest of the needs: estimates of the filled pages in rows, an equal number for each kv head in turn: one for
  // each of its query heads, or their sum alone (kinds that are linear in the query).
  std::vector<std::vector<float>> estimates;

  int32_t q_per_kv() const { return n_q_heads / n_kv_heads; }
};

// Scores of pages for the groups of `group_heads` kv heads each: the mean over a group's query heads, but for a factor
// common to all pages. Results: [n_groups][pages], as the cache combines them.
using GroupScores = std::vector<std::vector<float>>;
GroupScores TrueGroupScores(const LayerSight& sight, int32_t group_heads);
GroupScores EstimatedGroupScores(const LayerSight& sight, size_t digest, int32_t group_heads);
// Share of the attention that lies in each page, the same mean. [n_groups][n_pages]
std::vector<std::vector<double>> GroupMasses(const LayerSight& sight, int32_t group_heads);

class PageProbe : public KvObserver {
 public:
  using Sink = std::function<void(const LayerSight&)>;
  // Observes one sequence in `layers` alone; keys it has seen never change. `ctx` and `shape` outlive the probe.
  PageProbe(const OpContext& ctx, const KvShape& shape, ProbeNeeds needs, std::vector<int32_t> layers, Sink sink);

  Status OnQuery(const KvObservation& observation) override;

 private:
  Status ScorePages(const KvObservation& seen, LayerSight& sight);
  Status MeasureMass(const KvObservation& seen, LayerSight& sight);
  Status Estimate(const KvObservation& seen, size_t digest, LayerSight& sight);
  Status BuildDigests(const KvObservation& seen, DigestKind kind, int32_t n_filled, DigestStore& store);

  const OpContext& ctx_;
  const KvShape& shape_;
  const ProbeNeeds needs_;
  const std::vector<int32_t> layers_;
  const Sink sink_;
  std::map<int32_t, std::vector<DigestStore>> digests_;  // by layer, then kind
  PagedView pages_;                                      // the observed tokens in pages of the needs' size
  std::vector<float> max_qk_, lse_, head_mass_, token_mass_;
};

}  // namespace arkvale::tools
