#include "tools/eval/answer.h"

#include "text/sampler.h"

namespace arkvale::tools {

Result<Answer> DecodeAnswer(const Tokenizer& tokenizer, Session& session, int32_t max_new,
                            const std::atomic<bool>& cancel, int32_t end_id) {
  ARKVALE_ASSIGN_OR_RETURN(const auto greedy, Sampler::Create({}));
  Answer answer;
  for (;;) {
    if (cancel) return Cancelled("interrupted");
    const auto id = greedy->Sample(session.logits());
    if (!id.ok()) {
      answer.error = id.status().message();
      break;
    }
    if (tokenizer.IsEndOfGeneration(*id) || (*id == end_id && !answer.ids.empty())) break;
    answer.ids.push_back(*id);
    if (static_cast<int32_t>(answer.ids.size()) == max_new) break;
    ARKVALE_RETURN_IF_ERROR(session.Step(*id));
  }
  answer.text = tokenizer.Decode(answer.ids, false);
  return answer;
}

Result<Answer> AskQuestion(const Tokenizer& tokenizer, Session& session, std::span<const int32_t> question,
                           int32_t max_new, const std::atomic<bool>& cancel, int32_t end_id) {
  if (question.empty()) return InvalidArgument("a question of 0 tokens");
  for (size_t i = 0; i < question.size(); ++i) {
    if (cancel) return Cancelled("interrupted");
    ARKVALE_RETURN_IF_ERROR(session.Step(question[i], i + 1 == question.size()));
  }
  return DecodeAnswer(tokenizer, session, max_new, cancel, end_id);
}

}  // namespace arkvale::tools
