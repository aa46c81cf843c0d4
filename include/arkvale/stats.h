// What a sequence's KV cache holds and what it did. Plain values, copied out.
#pragma once

#include <cstdint>

namespace arkvale {

// Pages are pages of one group (algorithms 4.6). Invariants: evicted - recalled = pages evicted now; filled = resident
// filled + evicted now.
struct KvCounters {
  int64_t inserted = 0;   // pages opened
  int64_t filled = 0;     // pages that got all their tokens
  int64_t backed_up = 0;  // filled pages whose copy in the backing tier is complete
  int64_t recalled = 0;
  int64_t evicted = 0;
  int64_t streamed = 0;        // evicted pages read once through staging (exact prefill, attend=all), not recalled
  int64_t scored_steps = 0;    // (layer, group) selections made by steps
  int64_t selected_pages = 0;  // sum over those selections
  int64_t recalled_bytes = 0;  // recalled * page bytes
  int64_t moved_bytes = 0;     // bytes really copied between tiers; 0 where pages are read in place

  void Add(const KvCounters& o) {
    inserted += o.inserted;
    filled += o.filled;
    backed_up += o.backed_up;
    recalled += o.recalled;
    evicted += o.evicted;
    streamed += o.streamed;
    scored_steps += o.scored_steps;
    selected_pages += o.selected_pages;
    recalled_bytes += o.recalled_bytes;
    moved_bytes += o.moved_bytes;
  }
};

// What --kv-audit found, summed over (step, layer, group) samples.
struct KvAudit {
  int64_t samples = 0;
  double set_recall_sum = 0;   // share of the true best |S| candidates that were selected
  double mass_recall_sum = 0;  // share of the true attention mass that lies in the pages attended to, mean over heads

  double set_recall() const { return samples > 0 ? set_recall_sum / static_cast<double>(samples) : 0.0; }
  double mass_recall() const { return samples > 0 ? mass_recall_sum / static_cast<double>(samples) : 0.0; }
  void Add(const KvAudit& o) {
    samples += o.samples;
    set_recall_sum += o.set_recall_sum;
    mass_recall_sum += o.mass_recall_sum;
  }
};

struct KvStats {
  int64_t n_tokens = 0;
  int64_t steps = 0;           // committed decode steps
  int64_t hot_bytes = 0;       // K and V that a step can read without a recall, dense and sliding layers included
  int64_t hot_bytes_peak = 0;  // largest hot_bytes after a committed step or a finished prefill
  int64_t digest_bytes = 0;    // always hot, counted apart
  // K and V, digests and a zone's value codes that a decode step at this depth reads; with rank-every one that ranks all.
  int64_t step_bytes = 0;
  int64_t host_bytes = 0;      // backing tier in RAM
  int64_t full_bytes = 0;      // what dense attention would hold at this length
  int64_t total_bytes = 0;     // every page once, the digests and the scores
  int64_t resident_pages = 0;  // now, over layers and groups
  int64_t evicted_pages_now = 0;
  int64_t dropped_tokens = 0;  // for good, over layers and kv heads, by policies that drop single tokens
  int64_t score_bytes = 0;     // sums that such a policy (h2o) keeps with the tokens it holds, counted apart
  // Over the layers of full attention, dense ones included: how many, and tokens that a step can read without a recall,
  // mean over kv heads.
  int32_t full_layers = 0;
  double hot_tokens = 0;
  KvCounters counters;  // sum over managed layers
  KvAudit audit;        // the same; no samples where KvOptions::audit_every is 0

  double hot_tokens_per_layer() const { return full_layers > 0 ? hot_tokens / full_layers : 0.0; }
};

// Time a cache spent since it was made, for all its sequences.
struct KvTimings {
  int64_t estimate_ns = 0;  // query against digests, and in the same loop top-k and the plan of the residency; scores
                            // of single tokens
  int64_t select_ns = 0;    // carrying the plan out, page lists
  int64_t recall_ns = 0;    // waiting for copies
  int64_t attention_ns = 0;
  int64_t append_ns = 0;  // storing K and V, building digests
  int64_t audit_ns = 0;   // true scores for --kv-audit
};

}  // namespace arkvale
