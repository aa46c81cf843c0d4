// The metrics of LongBench (evaluation protocol 2.3). Texts are UTF-8 and taken as code points; scores are in [0, 1].
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace arkvale::tools {

enum class LongBenchMetric : uint8_t { kQaF1, kRougeL, kRetrieval, kCount, kClassification, kCodeSim };

// F1 of the words' multisets, without case, ASCII punctuation and articles.
double QaF1(std::string_view prediction, std::string_view gold);

// The F value of the Python package rouge 1.0.1: distinct words, and the union of the longest common subsequences of
// all pairs of pieces between full stops.
double RougeL(std::string_view prediction, std::string_view gold);

// The share of the prediction's numbers that are, digit by digit, the number behind "Paragraph " in `gold`.
double Retrieval(std::string_view prediction, std::string_view gold);
// The same with `gold` itself as the number.
double CountScore(std::string_view prediction, std::string_view gold);

// 1 / (classes named in the prediction) where the gold one is among them. Shorter names inside the gold one do not
// count, but for the benchmark's quirk: after one of those is dropped, the next class is not looked at.
double Classification(std::string_view prediction, std::string_view gold, std::span<const std::string> classes);

// Likeness of the prediction's first line of code to `gold` as Python's difflib finds it, rounded to 1/100.
double CodeSim(std::string_view prediction, std::string_view gold);
// That first line: without '`', '#' and "//"; empty where there is none.
std::string_view FirstCodeLine(std::string_view text);

// The line after leading newlines: what few-shot sets score of a prediction.
std::string_view FirstLine(std::string_view text);

struct BestScore {
  double score = 0;
  int32_t answer = 0;  // index of the first of the best
};
// `answers` is not empty; `classes` is for kClassification.
BestScore ScoreAnswers(LongBenchMetric metric, std::string_view prediction, std::span<const std::string> answers,
                       std::span<const std::string> classes);

// LongBench-E's buckets by words of the record: below 4000, below 8000, more.
inline constexpr int32_t kLengthBuckets = 3;
int32_t LengthBucket(int64_t length_words);

}  // namespace arkvale::tools
