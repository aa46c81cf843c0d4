// Session: one sequence by token ids: prefill, steps and forks. Engine, benchmarks and evaluations drive it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arkvale/kv_options.h"
#include "arkvale/stats.h"
#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "engine/runtime.h"

namespace arkvale {

// Owns a sequence of the runtime's cache and drops it when destroyed. Movable, not copyable. Threads: as Runtime.
class Session {
 public:
  static Result<Session> Make(Runtime& runtime, const KvOptions& options);
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  // Called after each committed chunk with the tokens of this call done so far. A status that is not ok ends the
  // prefill with it.
  using Progress = std::function<Status(int64_t done_tokens)>;

  // Appends `ids` exactly (attention is dense), in chunks; the policy's end-of-prefill step runs with the last one.
  // `want_logits`: logits() are those of the last id. Where it fails the chunks before the failure stay committed.
  // InvalidArgument for no ids.
  Status Prefill(std::span<const int32_t> ids, bool want_logits, const Progress& progress = {});

  // Appends one token under the policy. A failed step changes nothing.
  Status Step(int32_t id, bool want_logits = true);

  // Appends ids[i] to sessions[i], distinct sessions of one runtime, in one forward pass. Row i of `logits`,
  // [sessions, n_vocab], has the bits that Step would give; logits() of the sessions are empty afterwards. A failed
  // pass changes nothing else. InvalidArgument for no sessions, another number of ids, or a session that is there
  // twice.
  static Status StepTogether(std::span<Session* const> sessions, std::span<const int32_t> ids,
                             std::vector<float>& logits);

  // Writes K and V of the next tokens of one layer: [rows, n_kv_heads * head_dim] each.
  using RowSource = std::function<void(int32_t layer, const MatrixView& k, const MatrixView& v)>;
  // Appends `ids` with rows from `source`, called layer after layer for each chunk, in place of what the model would
  // compute: a context of any length in the time of writing it. End it with a Prefill or Step, whose query the policy
  // then knows. Where it fails the chunks before the failure stay committed.
  Status Inject(std::span<const int32_t> ids, const RowSource& source);

  // [n_vocab] of the last call that wanted logits; valid until the next call.
  std::span<const float> logits() const { return logits_; }

  // The same tokens under other options; the end-of-prefill step runs at the fork (kv/cache.h).
  Result<Session> Fork(const KvOptions& options) const;
  // The first `n_tokens` tokens under other options, without logits. InvalidArgument as KvCache::ForkAt.
  Result<Session> ForkAt(const KvOptions& options, int64_t n_tokens) const;
  int64_t MinForkDepth() const { return runtime_->cache().MinForkDepth(seq_); }

  int64_t n_tokens() const { return static_cast<int64_t>(ids_.size()); }
  // The tokens in the cache.
  std::span<const int32_t> ids() const { return ids_; }
  // How many of the first tokens came by Prefill: up to there the cache is, bit for bit, that of any prefill of the
  // same ids. Steps round differently, and under a policy they may not have read everything.
  int64_t n_prefilled() const { return n_prefilled_; }
  Result<KvStats> stats() const { return runtime_->cache().stats(seq_); }

 private:
  Session(Runtime& runtime, SeqId seq) : runtime_(&runtime), seq_(seq) {}
  void Drop();
  Status ReserveIds(int64_t n_more);
  Status InjectChunk(std::span<const int32_t> ids, const RowSource& source, std::vector<float>& rows);

  Runtime* runtime_;
  SeqId seq_;
  std::vector<int32_t> ids_;
  int64_t n_prefilled_ = 0;
  std::vector<float> logits_;
  std::vector<ForwardItem> together_;  // the first session's: items of the pass, kept for their memory
};

}  // namespace arkvale
