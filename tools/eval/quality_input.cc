#include "tools/eval/quality_input.h"

#include <filesystem>
#include <utility>

#include "tools/common/text_input.h"
#include "tools/eval/lockstep.h"
#include "tools/eval/longbench_prompt.h"
#include "tools/eval/longbench_records.h"
#include "tools/eval/longbench_sets.h"

namespace arkvale::tools {

Result<std::vector<QualityInput>> ReadTextInputs(const Runtime& runtime, const TextSource& source, int64_t steps) {
  ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(source.path, runtime.info().context_tokens));
  const Tokenizer& tokenizer = runtime.tokenizer();
  ARKVALE_ASSIGN_OR_RETURN(const auto all, tokenizer.Encode(text, false, false));
  const auto n_text = static_cast<int64_t>(all.size());
  const int64_t n_ids = source.context_tokens + steps;
  if (n_text < n_ids) {
    return InvalidArgument("--text " + source.path + ": " + std::to_string(n_text) + " tokens < context + steps = " +
                           std::to_string(n_ids) + ": use a longer text or a smaller --context");
  }
  const std::string name = std::filesystem::path(source.path).filename().string();
  std::vector<QualityInput> inputs;
  for (int64_t w = 0; w < source.n_records; ++w) {
    const auto first = all.begin() + WindowStart(w, source.n_records, n_text, n_ids);
    QualityInput& input = inputs.emplace_back();
    input.id = name + "/" + std::to_string(source.context_tokens) + "/" + std::to_string(w);
    input.context.assign(first, first + source.context_tokens);
    if (tokenizer.add_bos()) input.context.front() = tokenizer.bos();
    input.fed.assign(first + source.context_tokens, first + n_ids);
  }
  return inputs;
}

Result<std::vector<QualityInput>> ReadLongBenchInputs(const Runtime& runtime, const LongBenchSource& source) {
  const int64_t max_prompt = source.max_prompt > 0 ? source.max_prompt : DefaultMaxPrompt(runtime.ctx_tokens());
  std::vector<std::string> names = source.sets;
  if (names.empty()) {
    for (const LongBenchSet& set : LongBenchSets()) {
      const std::string name(set.name);
      if (std::filesystem::exists(LongBenchPath(source.dir, name))) names.push_back(name);
    }
    if (names.empty()) return NotFound("--data " + source.dir + " holds no LongBench set");
  }
  std::vector<QualityInput> inputs;
  for (const std::string& name : names) {
    ARKVALE_ASSIGN_OR_RETURN(const LongBenchSet* set, FindLongBenchSet(name));
    ARKVALE_ASSIGN_OR_RETURN(const auto records, ReadLongBench(LongBenchPath(source.dir, name), false));
    for (size_t i = 0; i < records.size() && static_cast<int64_t>(i) < source.n_records; ++i) {
      LongBenchPrompt prompt = MakeLongBenchPrompt(runtime.tokenizer(), *set, records[i], max_prompt, source.chat);
      QualityInput& input = inputs.emplace_back();
      input.id = name + "/" + std::to_string(i);
      if (!prompt.ids.error.empty()) return InvalidArgument(input.id + ": " + prompt.ids.error);
      input.context = std::move(prompt.ids.context);
      input.fed = std::move(prompt.ids.question);
      input.answers = true;
    }
  }
  return inputs;
}

}  // namespace arkvale::tools
