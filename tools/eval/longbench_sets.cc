#include "tools/eval/longbench_sets.h"

#include <algorithm>
#include <array>
#include <vector>

#include "tools/common/cli.h"

namespace arkvale::tools {
namespace {

constexpr std::string_view kPassages =
    "Answer the question based on the given passages. Only give me the answer and do not output any "
    "other words.\n\n"
    "The following are given passages.\n"
    "{context}\n\n"
    "Answer the question based on the given passages. Only give me the answer and do not output any "
    "other words.\n\n"
    "Question: {input}\n"
    "Answer:";

constexpr auto kSets = std::to_array<LongBenchSet>({
    {.name = "narrativeqa",
     .prompt_template = "You are given a story, which can be either a novel or a movie script, and a question. Answer "
                        "the question asconcisely as you can, using a single phrase if possible. Do not provide any "
                        "explanation.\n\n"
                        "Story: {context}\n\n"
                        "Now, answer the question based on the story asconcisely as you can, using a single phrase if "
                        "possible. Do not provide any explanation.\n\n"
                        "Question: {input}\n\n"
                        "Answer:",
     .max_new = 128,
     .metric = LongBenchMetric::kQaF1},
    {.name = "qasper",
     .prompt_template =
         "You are given a scientific article and a question. Answer the question as concisely as you "
         "can, using a single phrase or sentence if possible. If the question cannot be answered based "
         "on the information in the article, write \"unanswerable\". If the question is a yes/no question, "
         "answer \"yes\", \"no\", or \"unanswerable\". Do not provide any explanation.\n\n"
         "Article: {context}\n\n"
         " Answer the question based on the above article as concisely as you can, using a single phrase "
         "or sentence if possible. If the question cannot be answered based on the information in the "
         "article, write \"unanswerable\". If the question is a yes/no question, answer \"yes\", \"no\", or "
         "\"unanswerable\". Do not provide any explanation.\n\n"
         "Question: {input}\n\n"
         "Answer:",
     .max_new = 128,
     .metric = LongBenchMetric::kQaF1},
    {.name = "multifieldqa_en",
     .prompt_template =
         "Read the following text and answer briefly.\n\n"
         "{context}\n\n"
         "Now, answer the following question based on the above text, only give me the answer and do not "
         "output any other words.\n\n"
         "Question: {input}\n"
         "Answer:",
     .max_new = 64,
     .metric = LongBenchMetric::kQaF1},
    {.name = "hotpotqa", .prompt_template = kPassages, .max_new = 32, .metric = LongBenchMetric::kQaF1},
    {.name = "2wikimqa", .prompt_template = kPassages, .max_new = 32, .metric = LongBenchMetric::kQaF1},
    {.name = "musique", .prompt_template = kPassages, .max_new = 32, .metric = LongBenchMetric::kQaF1},
    {.name = "gov_report",
     .prompt_template = "You are given a report by a government agency. Write a one-page summary of the report.\n\n"
                        "Report:\n"
                        "{context}\n\n"
                        "Now, write a one-page summary of the report.\n\n"
                        "Summary:",
     .max_new = 512,
     .metric = LongBenchMetric::kRougeL},
    {.name = "qmsum",
     .prompt_template = "You are given a meeting transcript and a query containing a question or instruction. Answer "
                        "the query in one or more sentences.\n\n"
                        "Transcript:\n"
                        "{context}\n\n"
                        "Now, answer the query based on the above meeting transcript in one or more sentences.\n\n"
                        "Query: {input}\n"
                        "Answer:",
     .max_new = 512,
     .metric = LongBenchMetric::kRougeL},
    {.name = "multi_news",
     .prompt_template = "You are given several news passages. Write a one-page summary of all news. \n\n"
                        "News:\n"
                        "{context}\n\n"
                        "Now, write a one-page summary of all the news.\n\n"
                        "Summary:",
     .max_new = 512,
     .metric = LongBenchMetric::kRougeL},
    {.name = "trec",
     .prompt_template = "Please determine the type of the question below. Here are some examples of questions.\n\n"
                        "{context}\n"
                        "{input}",
     .max_new = 64,
     .metric = LongBenchMetric::kClassification,
     .chat = false,
     .first_line = true},
    {.name = "triviaqa",
     .prompt_template = "Answer the question based on the given passage. Only give me the answer and do not output any "
                        "other words. The following are some examples.\n\n"
                        "{context}\n\n"
                        "{input}",
     .max_new = 32,
     .metric = LongBenchMetric::kQaF1,
     .chat = false,
     .first_line = true},
    {.name = "samsum",
     .prompt_template = "Summarize the dialogue into a few short sentences. The following are some examples.\n\n"
                        "{context}\n\n"
                        "{input}",
     .max_new = 128,
     .metric = LongBenchMetric::kRougeL,
     .chat = false,
     .first_line = true,
     .ends_at_line = true},
    {.name = "passage_count",
     .prompt_template =
         "There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. Please "
         "carefully read these paragraphs and determine how many unique paragraphs there are after "
         "removing duplicates. In other words, how many non-repeating paragraphs are there in total?\n\n"
         "{context}\n\n"
         "Please enter the final count of unique paragraphs after removing duplicates. The output format "
         "should only contain the number, such as 1, 2, 3, and so on.\n\n"
         "The final answer is: ",
     .max_new = 32,
     .metric = LongBenchMetric::kCount},
    {.name = "passage_retrieval_en",
     .prompt_template = "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which "
                        "paragraph the abstract is from.\n\n"
                        "{context}\n\n"
                        "The following is an abstract.\n\n"
                        "{input}\n\n"
                        "Please enter the number of the paragraph that the abstract is from. The answer format must be "
                        "like \"Paragraph 1\", \"Paragraph 2\", etc.\n\n"
                        "The answer is: ",
     .max_new = 32,
     .metric = LongBenchMetric::kRetrieval},
    {.name = "lcc",
     .prompt_template = "Please complete the code given below. \n"
                        "{context}Next line of code:\n",
     .max_new = 64,
     .metric = LongBenchMetric::kCodeSim,
     .chat = false},
    {.name = "repobench-p",
     .prompt_template = "Please complete the code given below. \n"
                        "{context}{input}Next line of code:\n",
     .max_new = 64,
     .metric = LongBenchMetric::kCodeSim,
     .chat = false},
});

}  // namespace

std::span<const LongBenchSet> LongBenchSets() { return kSets; }

Result<const LongBenchSet*> FindLongBenchSet(const std::string& name) {
  const auto* found = std::find_if(kSets.begin(), kSets.end(), [&](const LongBenchSet& s) { return s.name == name; });
  if (found != kSets.end()) return found;
  std::vector<std::string> names;
  std::string all;
  for (const LongBenchSet& set : kSets) {
    names.emplace_back(set.name);
    (all += all.empty() ? "" : ", ") += set.name;
  }
  const std::string nearest = Nearest(name, names);
  return InvalidArgument("--sets: '" + name +
                         "' is unknown: " + (nearest.empty() ? "use " + all : "did you mean " + nearest + "?"));
}

BestScore ScorePrediction(const LongBenchSet& set, std::string_view prediction, std::span<const std::string> answers,
                          std::span<const std::string> classes) {
  return ScoreAnswers(set.metric, set.first_line ? FirstLine(prediction) : prediction, answers, classes);
}

double Agreement(const LongBenchSet& set, std::string_view prediction, std::string_view reference,
                 std::span<const std::string> classes) {
  if (set.first_line) reference = FirstLine(reference);
  if (set.metric == LongBenchMetric::kCodeSim) reference = FirstCodeLine(reference);
  return ScorePrediction(set, prediction, std::array{std::string(reference)}, classes).score;
}

FilledPrompt FillTemplate(std::string_view prompt_template, std::string_view context, std::string_view input) {
  constexpr std::string_view kContext = "{context}", kInput = "{input}";
  const size_t split = prompt_template.find(kContext);
  const std::string_view before = prompt_template.substr(0, split);
  const std::string_view after = prompt_template.substr(split + kContext.size());
  const size_t at = after.find(kInput);
  FilledPrompt prompt{.context = std::string(before), .question = std::string(after.substr(0, at))};
  prompt.context += context;
  if (at != std::string_view::npos) (prompt.question += input) += after.substr(at + kInput.size());
  return prompt;
}

}  // namespace arkvale::tools
