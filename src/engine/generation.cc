#include "engine/generation.h"

#include <utility>

#include "base/clock.h"
#include "base/quantile.h"

namespace arkvale {

Generation::Generation(Runtime& runtime, const GenerateRequest& request, const GenerateCallbacks& callbacks,
                       GenerateResult& result)
    : runtime_(runtime),
      request_(request),
      callbacks_(callbacks),
      result_(result),
      start_ns_(NowNs()),
      timings_before_(runtime.cache().timings()),
      stream_([&runtime](int32_t id) { return runtime.tokenizer().Piece(id); }, request.stop) {}

Status Generation::Run() {
  result_ = {};
  result_.load_ms = runtime_.load_ms();
  ARKVALE_RETURN_IF_ERROR(Prepare());
  Status status = ReadPrompt();
  if (status.ok()) status = Answer();
  Emit(stream_.Finish());
  if (status.kind() == StatusKind::kCancelled) result_.stop_reason = "cancelled";
  CollectStats();
  return status;
}

// What can fail before the model runs.
Status Generation::Prepare() {
  ARKVALE_RETURN_IF_ERROR(Check());
  ARKVALE_ASSIGN_OR_RETURN(sampler_, Sampler::Create(request_.sampling));
  ARKVALE_ASSIGN_OR_RETURN(prompt_, MakePrompt(runtime_.tokenizer(), request_));
  const auto n_prompt = static_cast<int64_t>(prompt_.context.size());
  const auto n_question = static_cast<int64_t>(prompt_.question.size());
  if (n_prompt + n_question + 1 > runtime_.ctx_tokens()) {
    return InvalidArgument("context " + std::to_string(n_prompt + n_question) + " tokens + 1 for the answer > limit " +
                           std::to_string(runtime_.ctx_tokens()) + ": shorten the input or use a longer context (the " +
                           "model allows " + std::to_string(runtime_.info().context_tokens) + ")");
  }
  result_.prompt_tokens = n_prompt;
  result_.question_tokens = n_question;
  ARKVALE_ASSIGN_OR_RETURN(Session session, Session::Make(runtime_, request_.kv));
  session_ = std::move(session);
  return OkStatus();
}

Status Generation::Check() const {
  if (request_.max_tokens < 1) {
    return InvalidArgument("answer of " + std::to_string(request_.max_tokens) + " tokens < 1: ask for at least one");
  }
  return request_.kv.Validate(runtime_.info().n_layers, runtime_.info().n_kv_heads);
}

Status Generation::ReadPrompt() {
  ARKVALE_RETURN_IF_ERROR(CheckCancel());
  const int64_t prefill_start_ns = NowNs();
  const auto n_prompt = static_cast<int64_t>(prompt_.context.size());
  ARKVALE_RETURN_IF_ERROR(session_->Prefill(prompt_.context, prompt_.question.empty(), [&](int64_t done) {
    Report(Stage::kPrefill, done, n_prompt);
    return CheckCancel();
  }));
  result_.prefill_ms = MsSince(prefill_start_ns);
  const size_t n_question = prompt_.question.size();
  for (size_t i = 0; i < n_question; ++i) {
    ARKVALE_RETURN_IF_ERROR(session_->Step(prompt_.question[i], i + 1 == n_question));
    Report(Stage::kQuestion, static_cast<int64_t>(i) + 1, static_cast<int64_t>(n_question));
    ARKVALE_RETURN_IF_ERROR(CheckCancel());
  }
  return OkStatus();
}

Status Generation::Answer() {
  bool done = false;
  ARKVALE_RETURN_IF_ERROR(NextToken(done));
  result_.ttft_ms = MsSince(start_ns_);
  while (!done) {
    ARKVALE_RETURN_IF_ERROR(CheckCancel());
    const int64_t step_start_ns = NowNs();
    ARKVALE_RETURN_IF_ERROR(session_->Step(result_.token_ids.back()));
    ARKVALE_RETURN_IF_ERROR(NextToken(done));
    step_ms_.push_back(MsSince(step_start_ns));
  }
  return OkStatus();
}

Status Generation::NextToken(bool& done) {
  ARKVALE_ASSIGN_OR_RETURN(const int32_t id, sampler_->Sample(session_->logits()));
  done = true;
  if (runtime_.tokenizer().IsEndOfGeneration(id)) {
    result_.stop_reason = "eog";
    return OkStatus();
  }
  result_.token_ids.push_back(id);
  Emit(stream_.Push(id));
  Report(Stage::kAnswer, static_cast<int64_t>(result_.token_ids.size()), request_.max_tokens);
  if (stream_.stopped()) {
    result_.stop_reason = "stop";
  } else if (result_.token_ids.size() == static_cast<size_t>(request_.max_tokens) ||
             session_->n_tokens() >= runtime_.ctx_tokens()) {
    result_.stop_reason = "length";
  } else {
    done = false;
  }
  return OkStatus();
}

void Generation::Emit(std::string_view text) {
  if (text.empty()) return;
  result_.text += text;
  if (callbacks_.on_text) callbacks_.on_text(text);
}

Status Generation::CheckCancel() const {
  if (callbacks_.cancel != nullptr && callbacks_.cancel->load()) return Cancelled("interrupted");
  return OkStatus();
}

void Generation::Report(Stage stage, int64_t done, int64_t total) const {
  if (callbacks_.on_progress) callbacks_.on_progress(stage, done, total);
}

void Generation::CollectStats() {
  result_.decode_ms_median = Median(step_ms_);
  result_.decode_ms_p95 = Quantile(step_ms_, 0.95);
  if (const auto stats = session_->stats(); stats.ok()) result_.kv = *stats;
  const KvTimings now = runtime_.cache().timings();
  result_.kv_timings = {.estimate_ns = now.estimate_ns - timings_before_.estimate_ns,
                        .select_ns = now.select_ns - timings_before_.select_ns,
                        .recall_ns = now.recall_ns - timings_before_.recall_ns,
                        .attention_ns = now.attention_ns - timings_before_.attention_ns,
                        .append_ns = now.append_ns - timings_before_.append_ns};
}

}  // namespace arkvale
