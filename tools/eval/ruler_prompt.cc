#include "tools/eval/ruler_prompt.h"

#include "tools/eval/fit_size.h"

namespace arkvale::tools {
namespace {

Result<RulerRecord> RecordOfSize(const Tokenizer& tokenizer, const RulerRecordId& id, std::span<const std::string> book,
                                 int64_t size) {
  RulerRecord record;
  record.size = size;
  record.text = MakeRulerText(*id.task, id.seed, id.length_tokens, id.index, size, book);
  ARKVALE_ASSIGN_OR_RETURN(record.prompt.context, tokenizer.Encode(record.text.context, true, false));
  ARKVALE_ASSIGN_OR_RETURN(record.prompt.question, tokenizer.Encode(record.text.question, false, false));
  return record;
}

}  // namespace

Result<RulerRecord> MakeRulerRecord(const Tokenizer& tokenizer, const RulerRecordId& id,
                                    std::span<const std::string> book) {
  const auto count = [&](int64_t size) -> Result<int64_t> {
    ARKVALE_ASSIGN_OR_RETURN(const RulerRecord record, RecordOfSize(tokenizer, id, book, size));
    return static_cast<int64_t>(record.prompt.context.size() + record.prompt.question.size()) + id.task->max_new;
  };
  ARKVALE_ASSIGN_OR_RETURN(const int64_t least, count(id.task->min_size()));
  if (least > id.length_tokens) {
    return InvalidArgument("length " + std::to_string(id.length_tokens) + " tokens < " + std::to_string(least) +
                           ", the smallest record of " + std::string(id.task->name) + ": use longer ones");
  }
  ARKVALE_ASSIGN_OR_RETURN(
      const int64_t size,
      LargestSizeThatFits(id.task->min_size(), id.task->max_size(id.length_tokens), id.length_tokens, count));
  return RecordOfSize(tokenizer, id, book, size);
}

}  // namespace arkvale::tools
