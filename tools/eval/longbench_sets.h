// The sixteen English sets of LongBench v1: what is asked, how long an answer may be, how it is scored (evaluation
// protocol 2.1). The wording of the templates, oddities included, is the benchmark's own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "arkvale/status.h"
#include "tools/eval/longbench_metrics.h"

namespace arkvale::tools {

struct LongBenchSet {
  std::string_view name;
  std::string_view prompt_template;  // holds {context} once, before {input}, which may be missing
  int32_t max_new = 0;               // longest answer in tokens
  LongBenchMetric metric = LongBenchMetric::kQaF1;
  bool chat = true;           // may be wrapped in a chat template
  bool first_line = false;    // only the first line of an answer counts
  bool ends_at_line = false;  // a newline ends an answer that holds a token
};

std::span<const LongBenchSet> LongBenchSets();

// InvalidArgument for another name; the nearest is suggested.
Result<const LongBenchSet*> FindLongBenchSet(const std::string& name);

// A record's score of a prediction, first-line rule included. `answers` is not empty.
BestScore ScorePrediction(const LongBenchSet& set, std::string_view prediction, std::span<const std::string> answers,
                          std::span<const std::string> classes);
// The same with another prediction in place of the answers, read as a prediction is: its first line, or line of code.
// Equal texts in which the metric finds nothing (no word, no number) have 0.
double Agreement(const LongBenchSet& set, std::string_view prediction, std::string_view reference,
                 std::span<const std::string> classes);

// A template filled in one pass: a text that itself holds "{input}" is left as it is.
struct FilledPrompt {
  std::string context;   // up to the end of {context}
  std::string question;  // what follows
};
FilledPrompt FillTemplate(std::string_view prompt_template, std::string_view context, std::string_view input);

}  // namespace arkvale::tools
