// KvCache: the tiered, paged, transactional KV cache of all sequences of one model.
//
// One forward pass is
//   Begin(batch)                       reserves everything; may fail before any layer is touched
//   for each layer: Append, Attend     in layer order, once each
//   Commit() or Abort()                the committed length moves only in Commit
// After Abort tokens, pages and digests are as before Begin; only which pages are hot may differ. A failed Append or
// Attend must be followed by Abort. Where memory runs out a call returns ResourceExhausted and never throws; Commit,
// and where RAM is read in place Abort, neither fail nor allocate.
//
// Rows of a batch lie sequence after sequence in the order of Begin, n_new rows each. A row's result depends only on
// its own sequence: never on the rest of the batch, the chunking of the prefill or the number of threads.
//
// Threads: one thread at a time. Memory: blocks, tables and room for digests are taken in Begin and freed by Drop.
// Limits: K and V blocks against host_limit_bytes; what a step can read, and digests, against hot_limit_bytes
// (hot_bytes.h), both checked before anything changes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "kv/ids.h"
#include "kv/shape.h"
#include "kv/tier.h"
#include "ops/context.h"

namespace arkvale {

enum class KvPhase : uint8_t {
  kPrefill,      // a chunk of a prompt, more to come
  kPrefillLast,  // its last chunk: the policy's end-of-prefill step runs (algorithms 5)
  kStep,         // one token of decode, n_new = 1
};

struct KvBatchItem {
  SeqId seq;
  int32_t n_new = 0;
  KvPhase phase = KvPhase::kStep;
};

class KvObserver;  // kv/observer.h

class KvCache {
 public:
  struct Config {
    KvShape shape;
    TierConfig tier;               // where hot pages live; default: RAM read in place
    int64_t host_limit_bytes = 0;  // hard limit of K and V in RAM blocks; 0 = none
    int64_t hot_limit_bytes = 0;   // hard limit of hot K, V and digests over all sequences (--kv-hot-mem); 0 = none
  };

  // `ctx` and what it points to must outlive the cache. InvalidArgument where the shape's type does not fit a head dim.
  static Result<std::unique_ptr<KvCache>> Make(Config config, const OpContext& ctx);
  ~KvCache();

  // InvalidArgument where options do not fit the model or the tier, or the budget is kAutoBudget; ResourceExhausted
  // beyond the hot limit (slots count from the start), which is quoted.
  Result<SeqId> Create(const KvOptions& options);
  // A new sequence with the same tokens; blocks are shared until one of the two writes. With other options the pages
  // and digests are made anew and the end-of-prefill step runs with the last query seen. InvalidArgument where tokens
  // of the parent have been dropped for good and the options are not its own, or where the policy needs what the parent
  // was not told to keep (KvOptions::collect).
  Result<SeqId> Fork(SeqId parent, const KvOptions& options);
  // The same at an earlier depth: the fork holds the parent's first `n_tokens` tokens. No query of that depth is known,
  // so under a budget sinks and the newest pages are resident until the next step or kPrefillLast chooses.
  // InvalidArgument: n_tokens outside 0..n_tokens(parent), or a sliding-window layer that no longer holds the window of
  // that depth.
  Result<SeqId> ForkAt(SeqId parent, const KvOptions& options, int64_t n_tokens);
  // The smallest depth from which every later depth of the sequence can be forked; -1 for an unknown sequence.
  int64_t MinForkDepth(SeqId seq) const;
  Status Drop(SeqId seq);

  // Each sequence at most once in a batch. ResourceExhausted (host limit, hot limit, memory) leaves everything as it
  // was.
  Status Begin(std::span<const KvBatchItem> batch);
  // k: [rows, n_kv_heads * head_dim_k] post-RoPE, v: [rows, n_kv_heads * head_dim_v].
  Status Append(int32_t layer, const MatrixView& k, const MatrixView& v);
  // q: [rows, n_q_heads * head_dim_k] post-RoPE, unscaled. out: [rows, n_q_heads * head_dim_v].
  Status Attend(int32_t layer, const MatrixView& q, const MatrixView& out);
  Status Commit();
  void Abort();

  int64_t n_tokens(SeqId seq) const;  // committed; -1 for an unknown sequence
  Result<KvStats> stats(SeqId seq) const;
  // Bytes dense attention over the same type of K and V would hold for n_tokens.
  int64_t FullBytes(int64_t n_tokens) const;
  KvTimings timings() const;
  // Told of every query from now on; null (the default) for nobody. It must outlive the cache or be taken off.
  void SetObserver(KvObserver* observer);
  const KvShape& shape() const;

 private:
  struct Impl;
  explicit KvCache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale
