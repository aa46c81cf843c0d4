#include "arkvale/chat.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/bad_alloc.h"
#include "engine/engine_impl.h"
#include "engine/prefix_reuse.h"
#include "engine/reply.h"
#include "engine/transcript.h"

namespace arkvale {

struct Chat::Impl {
  Runtime& runtime;
  PrefixCache& prefixes;
  const KvOptions kv;
  Transcript transcript;
  // Holds what was fed, which after an error is more than the transcript: the next turn cuts it back.
  std::optional<Session> session;

  Status Send(std::string_view text, const TurnOptions& options, const GenerateCallbacks& callbacks,
              GenerateResult& result);
  Status RunTurn(Reply& reply, int32_t max_tokens);
  Status CutBackFor(std::span<const int32_t> ids);
};

Status Chat::Impl::Send(std::string_view text, const TurnOptions& options, const GenerateCallbacks& callbacks,
                        GenerateResult& result) {
  Reply reply(runtime, prefixes, {options.max_tokens, options.sampling, {}}, callbacks, result);
  ARKVALE_RETURN_IF_ERROR(reply.Prepare());
  if (text.empty()) return InvalidArgument("the message is empty: write at least one character");
  transcript.AddQuestion(std::string(text));
  Status status = RunTurn(reply, options.max_tokens);
  if (status.ok() || (status.kind() == StatusKind::kCancelled && !result.token_ids.empty())) {
    transcript.AddAnswer(result.text, result.token_ids);
  }
  return status;
}

Status Chat::Impl::RunTurn(Reply& reply, int32_t max_tokens) {
  ARKVALE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, transcript.Render());
  const auto n_prompt = static_cast<int64_t>(ids.size());
  ARKVALE_RETURN_IF_ERROR(reply.CheckLength("conversation of", n_prompt));
  ARKVALE_RETURN_IF_ERROR(runtime.CheckFits(std::min(n_prompt + max_tokens, runtime.ctx_tokens())));
  ARKVALE_RETURN_IF_ERROR(CutBackFor(ids));
  Status status = reply.Prefill(*session, ids, true);
  if (status.ok()) status = reply.Answer(*session);
  reply.Finish(*session, status);
  return status;
}

// Leaves in `session` the most of `ids` that needs no prefill, and nothing else.
Status Chat::Impl::CutBackFor(std::span<const int32_t> ids) {
  if (session) {
    const int64_t depth = ReusableTokens(ids, {session->ids(), session->MinForkDepth()}, 1);
    if (depth > 0 && depth == session->n_tokens()) return OkStatus();
    if (depth > 0) {
      auto fork = session->ForkAt(kv, depth);
      if (!fork.ok() && fork.status().kind() != StatusKind::kResourceExhausted) return fork.status();
      if (fork.ok()) {
        session = std::move(*fork);
        return OkStatus();
      }
    }
    session.reset();  // a new sequence: the window of that depth is gone, or there is no memory for two
  }
  ARKVALE_ASSIGN_OR_RETURN(session, prefixes.Start(kv, ids));
  return OkStatus();
}

Chat::Chat(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Chat::~Chat() = default;

Result<GenerateResult> Chat::Send(std::string_view text, const TurnOptions& options, const GenerateCallbacks& callbacks,
                                  GenerateResult* partial) {
  GenerateResult result;
  const Status status = CatchBadAlloc([&] { return impl_->Send(text, options, callbacks, result); });
  result.budget_tokens = impl_->kv.budget_tokens;
  impl_->transcript.DropOpenQuestion();
  if (partial != nullptr) *partial = result;
  if (!status.ok()) return status;
  return result;
}

Status Chat::Reset() {
  impl_->transcript.Clear();
  impl_->session.reset();
  return OkStatus();
}

int64_t Chat::n_tokens() const { return impl_->session ? impl_->session->n_tokens() : 0; }

Result<KvStats> Chat::stats() const { return impl_->session ? impl_->session->stats() : Result<KvStats>(KvStats{}); }

Result<std::unique_ptr<Chat>> Engine::StartChat(const ChatOptions& options) {
  Runtime& runtime = *impl_->runtime;
  if (!runtime.info().has_chat_template) {
    return InvalidArgument("the model has no chat template: use an instruction-tuned model, or generate");
  }
  ARKVALE_RETURN_IF_ERROR(CheckKeepsAllTokens(options.kv.policy));
  ARKVALE_ASSIGN_OR_RETURN(const KvOptions kv, runtime.ResolveBudget(options.kv, runtime.ctx_tokens()));
  Transcript transcript(runtime.tokenizer(), runtime.tokenizer().chat_template(), options.system);
  transcript.AddQuestion("?");
  ARKVALE_RETURN_IF_ERROR(transcript.Render().status());  // a template that knows no system message says so here
  transcript.DropOpenQuestion();
  return std::unique_ptr<Chat>(new Chat(
      std::make_unique<Chat::Impl>(Chat::Impl{runtime, impl_->prefixes, kv, std::move(transcript), std::nullopt})));
}

}  // namespace arkvale
