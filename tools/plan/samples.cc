#include "tools/plan/samples.h"

#include <cstdio>
#include <filesystem>
#include <utility>

#include "tools/common/json_lines.h"
#include "tools/common/text_input.h"
#include "tools/eval/longbench_prompt.h"
#include "tools/eval/records.h"

namespace arkvale::tools {
namespace {

constexpr int64_t kWindowTokens = 4096;

std::vector<int32_t> Join(const Halves& halves) {
  std::vector<int32_t> ids(halves.first.begin(), halves.first.end());
  ids.insert(ids.end(), halves.last.begin(), halves.last.end());
  return ids;
}

std::string FileName(const std::string& path) { return std::filesystem::path(path).filename().string(); }

// A name of LongBench's, or the user's own text.
Result<LongBenchSet> MakeSet(const std::string& text) {
  if (text.find('{') == std::string::npos) {
    ARKVALE_ASSIGN_OR_RETURN(const LongBenchSet* set, FindLongBenchSet(text));
    return *set;
  }
  if (text.find("{context}") == std::string::npos) {
    return InvalidArgument("--template '" + text +
                           "' has no {context}: name a set of LongBench, or write a text with it");
  }
  LongBenchSet set;
  set.name = "template";
  set.prompt_template = text;
  return set;
}

// The text of a line of --samples.
Result<std::string> LineText(const Json& line) {
  const auto text = line.find("text");
  if (text != line.end() && text->is_string()) return text->get<std::string>();
  if (line.contains("context")) {
    return Corrupt("no \"text\", but a \"context\": give LongBench's records a --template, as --template qasper");
  }
  return Corrupt("no \"text\", or none that is a string");
}

}  // namespace

void SampleFlags::Add(Cli& cli) {
  const FlagGroup group(cli, "Samples");
  group.Add("--samples", samples_, "FILE", "JSON lines, each with a \"text\", or LongBench's records (--template)", "");
  group.Add("--text", text_, "FILE,...", "books, cut into samples of --max-prompt tokens each", "");
  group.Add("--template", template_, "NAME|TEXT",
            "prompt of a record: that of a set of LongBench, or a text with {context} and perhaps {input}", "");
  group.Add("--max-prompt", max_prompt_, "N", "longest sample in tokens; of longer prompts the middle is cut",
            "4096 for --text, else the model's limit");
  group.Add("--chat", chat_, "WHEN",
            "wrap records in the model's chat template, but for few-shot sets: auto, on or off", "auto");
  group.Add("--feed", feed_, "NAME",
            "what of a record is measured: joint (with its question) or 3stage (the context alone)", "joint");
}

Status SampleFlags::Check() const {
  if (samples_.empty() == text_.empty()) {
    return InvalidArgument(std::string(samples_.empty() ? "no samples" : "both --samples and --text") +
                           ": give one of --samples FILE and --text FILE");
  }
  if (!text_.empty() && !template_.empty()) return InvalidArgument("--template is for --samples, not for --text");
  if (max_prompt_ < 0) return InvalidArgument("--max-prompt " + std::to_string(max_prompt_) + ": use 2 or more tokens");
  if (!template_.empty()) ARKVALE_RETURN_IF_ERROR(MakeSet(template_).status());
  return ParseFeeding(feed_).status();
}

Result<int64_t> SampleFlags::MaxPrompt(const Runtime& runtime) const {
  const int64_t most = runtime.ctx_tokens();
  if (max_prompt_ == 0) return text_.empty() ? DefaultMaxPrompt(most) : std::min(kWindowTokens, most);
  if (max_prompt_ >= 2 && max_prompt_ <= most) return max_prompt_;
  return InvalidArgument("--max-prompt " + std::to_string(max_prompt_) + ": use 2 to " + std::to_string(most) +
                         ", the longest context");
}

Result<std::vector<PlanSample>> SampleFlags::Read(const Runtime& runtime) const {
  ARKVALE_ASSIGN_OR_RETURN(auto samples, !text_.empty()      ? ReadWindows(runtime)
                                         : template_.empty() ? ReadLines(runtime)
                                                             : ReadRecords(runtime));
  if (samples.empty()) return Corrupt((text_.empty() ? samples_ : text_) + ": no sample in it");
  return samples;
}

Result<std::vector<PlanSample>> SampleFlags::ReadLines(const Runtime& runtime) const {
  ARKVALE_ASSIGN_OR_RETURN(const int64_t max_prompt, MaxPrompt(runtime));
  std::vector<PlanSample> samples;
  ARKVALE_RETURN_IF_ERROR(ReadJsonLines(samples_, "{\"text\": ...}", [&](const Json& json, int64_t line) {
    ARKVALE_ASSIGN_OR_RETURN(const std::string text, LineText(json));
    ARKVALE_ASSIGN_OR_RETURN(const auto ids,
                             runtime.tokenizer().Encode(text, /*add_bos=*/true, /*parse_special=*/false));
    if (!ids.empty())
      samples.push_back({FileName(samples_) + ":" + std::to_string(line), Join(CutMiddle(ids, max_prompt))});
    return OkStatus();
  }));
  return samples;
}

Result<std::vector<PlanSample>> SampleFlags::ReadRecords(const Runtime& runtime) const {
  ARKVALE_ASSIGN_OR_RETURN(const int64_t max_prompt, MaxPrompt(runtime));
  ARKVALE_ASSIGN_OR_RETURN(const LongBenchSet set, MakeSet(template_));
  ARKVALE_ASSIGN_OR_RETURN(const bool chat, ResolveChat(chat_, runtime.tokenizer()));
  ARKVALE_ASSIGN_OR_RETURN(const Feeding feeding, ParseFeeding(feed_));
  ARKVALE_ASSIGN_OR_RETURN(const auto records, ReadLongBench(samples_, /*wants_classes=*/false));
  std::vector<PlanSample> samples;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string name = FileName(samples_) + ":" + std::to_string(i + 1);
    RecordPrompt prompt = MakeLongBenchPrompt(runtime.tokenizer(), set, records[i], max_prompt, chat).ids;
    if (!prompt.error.empty()) {
      std::fprintf(stderr, "%s is left out: %s\n", name.c_str(), prompt.error.c_str());
      continue;
    }
    PlanSample sample{name, std::move(prompt.context)};
    if (feeding == Feeding::kJoint) sample.ids.insert(sample.ids.end(), prompt.question.begin(), prompt.question.end());
    samples.push_back(std::move(sample));
  }
  return samples;
}

// Consecutive windows; the last one of a book may be shorter, and is left out beside whole ones.
Result<std::vector<PlanSample>> SampleFlags::ReadWindows(const Runtime& runtime) const {
  ARKVALE_ASSIGN_OR_RETURN(const int64_t n, MaxPrompt(runtime));
  std::vector<PlanSample> samples;
  for (const std::string& path : SplitCommas(text_)) {
    ARKVALE_ASSIGN_OR_RETURN(const std::string text, ReadText(path, int64_t{1} << 24));
    ARKVALE_ASSIGN_OR_RETURN(const auto ids,
                             runtime.tokenizer().Encode(text, /*add_bos=*/true, /*parse_special=*/false));
    const auto n_ids = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin < n_ids && (begin == 0 || begin + n <= n_ids); begin += n) {
      const auto from = ids.begin() + begin;
      samples.push_back(
          {FileName(path) + " from token " + std::to_string(begin), {from, from + std::min(n, n_ids - begin)}});
    }
  }
  return samples;
}

}  // namespace arkvale::tools
