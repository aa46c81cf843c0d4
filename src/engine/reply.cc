#include "engine/reply.h"

#include <utility>

#include "base/clock.h"
#include "base/quantile.h"

namespace arkvale {

Reply::Reply(Runtime& runtime, PrefixCache& prefixes, ReplyOptions options, const GenerateCallbacks& callbacks,
             GenerateResult& result)
    : runtime_(runtime),
      prefixes_(prefixes),
      options_(std::move(options)),
      callbacks_(callbacks),
      result_(result),
      start_ns_(NowNs()),
      timings_before_(runtime.cache().timings()),
      stream_([&runtime](int32_t id) { return runtime.tokenizer().Piece(id); }, options_.stop) {
  result_ = {};
  result_.load_ms = runtime_.load_ms();
}

Status Reply::Prepare() {
  if (options_.max_tokens < 1) {
    return InvalidArgument("answer of " + std::to_string(options_.max_tokens) + " tokens < 1: ask for at least one");
  }
  ARKVALE_ASSIGN_OR_RETURN(sampler_, Sampler::Create(options_.sampling, &runtime_.tokenizer()));
  return OkStatus();
}

Status Reply::CheckLength(const char* what, int64_t n_tokens) const {
  if (n_tokens + 1 <= runtime_.ctx_tokens()) return OkStatus();
  return InvalidArgument(std::string(what) + " " + std::to_string(n_tokens) + " tokens + 1 for the answer > limit " +
                         std::to_string(runtime_.ctx_tokens()) + ": shorten the input or use a longer context (the " +
                         "model allows " + std::to_string(runtime_.info().context_tokens) + ")");
}

Status Reply::Prefill(Session& session, std::span<const int32_t> ids, bool want_logits) {
  const auto total = static_cast<int64_t>(ids.size());
  result_.prompt_tokens = total;
  result_.reused_tokens = session.n_tokens();
  ARKVALE_RETURN_IF_ERROR(CheckCancel());
  const int64_t start_ns = NowNs();
  Status status = prefixes_.WithMemory([&] {
    const int64_t before = session.n_tokens();
    return session.Prefill(ids.subspan(static_cast<size_t>(before)), want_logits, [&](int64_t done) {
      Report(Stage::kPrefill, before + done, total);
      return CheckCancel();
    });
  });
  prefixes_.Keep(session);
  if (status.ok()) result_.prefill_ms = MsSince(start_ns);
  return status;
}

Status Reply::Question(Session& session, std::span<const int32_t> ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    ARKVALE_RETURN_IF_ERROR(prefixes_.WithMemory([&] { return session.Step(ids[i], i + 1 == ids.size()); }));
    Report(Stage::kQuestion, static_cast<int64_t>(i) + 1, static_cast<int64_t>(ids.size()));
    ARKVALE_RETURN_IF_ERROR(CheckCancel());
  }
  return OkStatus();
}

Status Reply::Answer(Session& session) {
  bool done = false;
  ARKVALE_RETURN_IF_ERROR(NextToken(session, done));
  result_.ttft_ms = MsSince(start_ns_);
  while (!done) {
    ARKVALE_RETURN_IF_ERROR(CheckCancel());
    const int64_t step_start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(prefixes_.WithMemory([&] { return session.Step(result_.token_ids.back()); }));
    ARKVALE_RETURN_IF_ERROR(NextToken(session, done));
    step_ms_.push_back(MsSince(step_start_ns));
  }
  return OkStatus();
}

Status Reply::NextToken(Session& session, bool& done) {
  ARKVALE_ASSIGN_OR_RETURN(const int32_t id, sampler_->Sample(session.logits()));
  done = true;
  if (runtime_.tokenizer().IsEndOfGeneration(id)) {
    result_.stop_reason = "eog";
    return OkStatus();
  }
  result_.token_ids.push_back(id);
  Emit(stream_.Push(id));
  Report(Stage::kAnswer, static_cast<int64_t>(result_.token_ids.size()), options_.max_tokens);
  if (stream_.stopped()) {
    result_.stop_reason = "stop";
  } else if (result_.token_ids.size() == static_cast<size_t>(options_.max_tokens) ||
             session.n_tokens() >= runtime_.ctx_tokens()) {
    result_.stop_reason = "length";
  } else {
    done = false;
  }
  return OkStatus();
}

void Reply::Emit(std::string_view text) {
  if (text.empty()) return;
  result_.text += text;
  if (callbacks_.on_text) callbacks_.on_text(text);
}

Status Reply::CheckCancel() const {
  if (callbacks_.cancel != nullptr && callbacks_.cancel->load()) return Cancelled("interrupted");
  return OkStatus();
}

void Reply::Report(Stage stage, int64_t done, int64_t total) const {
  if (callbacks_.on_progress) callbacks_.on_progress(stage, done, total);
}

void Reply::Finish(const Session& session, const Status& status) {
  Emit(stream_.Finish());
  if (status.kind() == StatusKind::kCancelled) result_.stop_reason = "cancelled";
  result_.decode_ms_median = Median(step_ms_);
  result_.decode_ms_p95 = Quantile(step_ms_, 0.95);
  if (const auto stats = session.stats(); stats.ok()) result_.kv = *stats;
  const KvTimings now = runtime_.cache().timings();
  result_.kv_timings = {.estimate_ns = now.estimate_ns - timings_before_.estimate_ns,
                        .select_ns = now.select_ns - timings_before_.select_ns,
                        .recall_ns = now.recall_ns - timings_before_.recall_ns,
                        .attention_ns = now.attention_ns - timings_before_.attention_ns,
                        .append_ns = now.append_ns - timings_before_.append_ns,
                        .audit_ns = now.audit_ns - timings_before_.audit_ns};
}

}  // namespace arkvale
