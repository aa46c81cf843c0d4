#include "engine/generation.h"

#include <algorithm>

#include "engine/prompt.h"
#include "engine/reply.h"

namespace arkvale {

Status RunGeneration(Runtime& runtime, PrefixCache& prefixes, const GenerateRequest& request,
                     const GenerateCallbacks& callbacks, GenerateResult& result) {
  Reply reply(runtime, prefixes, {request.max_tokens, request.sampling, request.stop}, callbacks, result);
  ARKVALE_RETURN_IF_ERROR(reply.Prepare());
  ARKVALE_ASSIGN_OR_RETURN(const PromptIds prompt, MakePrompt(runtime.tokenizer(), request));
  const auto n_input = static_cast<int64_t>(prompt.context.size() + prompt.question.size());
  ARKVALE_RETURN_IF_ERROR(reply.CheckLength("context", n_input));
  const int64_t n_tokens = std::min(n_input + request.max_tokens, runtime.ctx_tokens());
  ARKVALE_RETURN_IF_ERROR(runtime.CheckFits(n_tokens));
  ARKVALE_ASSIGN_OR_RETURN(const KvOptions kv, runtime.ResolveBudget(request.kv, n_tokens));
  result.budget_tokens = kv.budget_tokens;
  result.question_tokens = static_cast<int64_t>(prompt.question.size());
  ARKVALE_ASSIGN_OR_RETURN(Session session, prefixes.Start(kv, prompt.context));
  Status status = reply.Prefill(session, prompt.context, prompt.question.empty());
  if (status.ok()) status = reply.Question(session, prompt.question);
  if (status.ok()) status = reply.Answer(session);
  reply.Finish(session, status);
  return status;
}

}  // namespace arkvale
