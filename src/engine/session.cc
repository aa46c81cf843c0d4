#include "engine/session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/bad_alloc.h"
#include "base/check.h"
#include "kv/grow.h"

namespace arkvale {

Result<Session> Session::Make(Runtime& runtime, const KvOptions& options) {
  ARKVALE_ASSIGN_OR_RETURN(const SeqId seq, runtime.cache().Create(options));
  return Session(runtime, seq);
}

Session::Session(Session&& other) noexcept
    : runtime_(other.runtime_),
      seq_(std::exchange(other.seq_, SeqId())),
      ids_(std::move(other.ids_)),
      n_prefilled_(other.n_prefilled_),
      logits_(std::move(other.logits_)) {}

Session& Session::operator=(Session&& other) noexcept {
  if (this != &other) {
    Drop();
    runtime_ = other.runtime_;
    seq_ = std::exchange(other.seq_, SeqId());
    ids_ = std::move(other.ids_);
    n_prefilled_ = other.n_prefilled_;
    logits_ = std::move(other.logits_);
  }
  return *this;
}

Session::~Session() { Drop(); }

void Session::Drop() {
  if (seq_.valid()) ARKVALE_CHECK(runtime_->cache().Drop(seq_).ok());
}

// What is committed must be recorded: nothing may fail in between.
Status Session::ReserveIds(int64_t n_more) {
  return CatchBadAlloc([&] {
    GrowCapacity(ids_, static_cast<int64_t>(ids_.size()) + n_more);
    return OkStatus();
  });
}

Status Session::Prefill(std::span<const int32_t> ids, bool want_logits, const Progress& progress) {
  if (ids.empty()) return InvalidArgument("prefill of 0 tokens: give at least 1");
  const auto total = static_cast<int64_t>(ids.size());
  ARKVALE_RETURN_IF_ERROR(ReserveIds(total));
  for (int64_t done = 0; done < total;) {
    const int64_t n = std::min<int64_t>(runtime_->prefill_chunk(), total - done);
    const bool last = done + n == total;
    const ForwardItem item{.seq = seq_,
                           .tokens = ids.subspan(done, n),
                           .phase = last ? KvPhase::kPrefillLast : KvPhase::kPrefill,
                           .logits = last && want_logits ? LogitsWanted::kLast : LogitsWanted::kNone};
    ARKVALE_RETURN_IF_ERROR(
        runtime_->transformer().Forward(runtime_->op_context(), runtime_->cache(), {&item, 1}, logits_));
    if (n_prefilled_ == n_tokens()) n_prefilled_ += n;
    ids_.insert(ids_.end(), item.tokens.begin(), item.tokens.end());
    done += n;
    if (progress) ARKVALE_RETURN_IF_ERROR(progress(done));
  }
  return OkStatus();
}

Status Session::Step(int32_t id, bool want_logits) {
  const ForwardItem item{.seq = seq_,
                         .tokens = {&id, 1},
                         .phase = KvPhase::kStep,
                         .logits = want_logits ? LogitsWanted::kLast : LogitsWanted::kNone};
  ARKVALE_RETURN_IF_ERROR(ReserveIds(1));
  ARKVALE_RETURN_IF_ERROR(
      runtime_->transformer().Forward(runtime_->op_context(), runtime_->cache(), {&item, 1}, logits_));
  ids_.push_back(id);
  return OkStatus();
}

Status Session::StepTogether(std::span<Session* const> sessions, std::span<const int32_t> ids,
                             std::vector<float>& logits) {
  if (sessions.empty() || sessions.size() != ids.size()) {
    return InvalidArgument("a step of " + std::to_string(sessions.size()) + " sessions with " +
                           std::to_string(ids.size()) + " tokens: give each one token");
  }
  Runtime& runtime = *sessions[0]->runtime_;
  std::vector<ForwardItem>& items = sessions[0]->together_;
  ARKVALE_RETURN_IF_ERROR(CatchBadAlloc([&] {
    items.clear();
    for (size_t i = 0; i < sessions.size(); ++i)
      items.push_back({.seq = sessions[i]->seq_, .tokens = ids.subspan(i, 1)});
    return OkStatus();
  }));
  for (Session* session : sessions) {
    if (session->runtime_ != &runtime) return InvalidArgument("a step of sessions of several runtimes");
    session->logits_.clear();
    ARKVALE_RETURN_IF_ERROR(session->ReserveIds(1));
  }
  ARKVALE_RETURN_IF_ERROR(runtime.transformer().Forward(runtime.op_context(), runtime.cache(), items, logits));
  for (size_t i = 0; i < sessions.size(); ++i) sessions[i]->ids_.push_back(ids[i]);
  return OkStatus();
}

Status Session::InjectChunk(std::span<const int32_t> ids, const RowSource& source, std::vector<float>& rows) {
  KvCache& cache = runtime_->cache();
  const auto n = static_cast<int64_t>(ids.size());
  const KvBatchItem item{.seq = seq_, .n_new = static_cast<int32_t>(n), .phase = KvPhase::kPrefill};
  ARKVALE_RETURN_IF_ERROR(cache.Begin({&item, 1}));
  const auto append = [&](int32_t layer) -> Status {
    const KvLayerShape& shape = cache.shape().layers[static_cast<size_t>(layer)];
    const int64_t k_cols = int64_t{shape.n_kv_heads} * shape.head_dim_k;
    const int64_t v_cols = int64_t{shape.n_kv_heads} * shape.head_dim_v;
    rows.resize(static_cast<size_t>(n * (k_cols + v_cols)));
    const MatrixView k{rows.data(), n, k_cols, k_cols}, v{rows.data() + n * k_cols, n, v_cols, v_cols};
    source(layer, k, v);
    return cache.Append(layer, k, v);
  };
  Status status = OkStatus();
  for (int32_t layer = 0; status.ok() && layer < cache.shape().n_layers(); ++layer) {
    status = CatchBadAlloc([&] { return append(layer); });
  }
  if (status.ok()) status = cache.Commit();
  if (!status.ok()) cache.Abort();
  return status;
}

Status Session::Inject(std::span<const int32_t> ids, const RowSource& source) {
  ARKVALE_RETURN_IF_ERROR(ReserveIds(static_cast<int64_t>(ids.size())));
  std::vector<float> rows;
  const auto chunk = static_cast<size_t>(runtime_->prefill_chunk());
  while (!ids.empty()) {
    const auto now = ids.first(std::min(chunk, ids.size()));
    ARKVALE_RETURN_IF_ERROR(InjectChunk(now, source, rows));
    ids_.insert(ids_.end(), now.begin(), now.end());
    ids = ids.subspan(now.size());
  }
  return OkStatus();
}

Result<Session> Session::Fork(const KvOptions& options) const {
  ARKVALE_ASSIGN_OR_RETURN(const SeqId seq, runtime_->cache().Fork(seq_, options));
  Session fork(*runtime_, seq);
  fork.ids_ = ids_;
  fork.n_prefilled_ = n_prefilled_;
  fork.logits_ = logits_;
  return fork;
}

Result<Session> Session::ForkAt(const KvOptions& options, int64_t n_tokens) const {
  ARKVALE_ASSIGN_OR_RETURN(const SeqId seq, runtime_->cache().ForkAt(seq_, options, n_tokens));
  Session fork(*runtime_, seq);
  fork.ids_.assign(ids_.begin(), ids_.begin() + n_tokens);
  fork.n_prefilled_ = std::min(n_prefilled_, n_tokens);
  return fork;
}

}  // namespace arkvale
