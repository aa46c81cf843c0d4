#include "engine/session.h"

#include <algorithm>
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
