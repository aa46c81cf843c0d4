#include "tools/eval/longbench_metrics.h"

#include <algorithm>
#include <map>

#include "tools/eval/matching_blocks.h"
#include "tools/eval/unicode_text.h"

namespace arkvale::tools {
namespace {

bool IsAsciiPunctuation(char32_t c) {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') || (c >= U'{' && c <= U'~');
}

bool IsArticle(std::u32string_view word) { return word == U"a" || word == U"an" || word == U"the"; }

// Runs of word characters that are articles become spaces.
std::u32string WithoutArticles(std::u32string_view text) {
  std::u32string kept;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsWordCharacter(text[end])) ++end;
    const std::u32string_view word = text.substr(i, end - i);
    if (IsArticle(word)) {
      kept += U' ';
    } else {
      kept += word;
    }
    if (end < text.size()) kept += text[end++];
    i = end;
  }
  return kept;
}

using WordCounts = std::map<std::u32string, int64_t, std::less<>>;

int64_t CountWords(std::string_view text, WordCounts& counts) {
  std::u32string lower = LowerCase(DecodeUtf8(text));
  std::erase_if(lower, IsAsciiPunctuation);
  const std::u32string kept = WithoutArticles(lower);
  const auto words = SplitAtWhiteSpace(kept);
  for (const auto word : words) ++counts[std::u32string(word)];
  return static_cast<int64_t>(words.size());
}

using WordIds = std::map<std::u32string, int32_t, std::less<>>;
using Piece = std::vector<int32_t>;  // of word ids

// The pieces between full stops. One of white space alone is one empty word.
std::vector<Piece> Pieces(std::string_view text, WordIds& ids) {
  const std::u32string characters = DecodeUtf8(text);
  const std::u32string_view all = characters;
  const auto id = [&](std::u32string_view word) {
    return ids.try_emplace(std::u32string(word), static_cast<int32_t>(ids.size())).first->second;
  };
  std::vector<Piece> pieces;
  for (size_t i = 0; i <= all.size();) {
    const size_t end = std::min(all.find(U'.', i), all.size());
    if (end > i) {
      Piece& piece = pieces.emplace_back();
      for (const auto word : SplitAtWhiteSpace(all.substr(i, end - i))) piece.push_back(id(word));
      if (piece.empty()) piece.push_back(id(U""));
    }
    i = end + 1;
  }
  return pieces;
}

int64_t CountDistinct(const std::vector<Piece>& pieces, size_t n_ids) {
  std::vector<bool> seen(n_ids);
  for (const Piece& piece : pieces) {
    for (const int32_t word : piece) seen[word] = true;
  }
  return std::count(seen.begin(), seen.end(), true);
}

// Marks the words of the longest common subsequence that the walk back from the end of the table finds.
void MarkCommon(const Piece& reference, const Piece& prediction, std::vector<bool>& common) {
  const size_t columns = prediction.size() + 1;
  std::vector<int32_t> table((reference.size() + 1) * columns);
  const auto at = [&](size_t i, size_t j) -> int32_t& { return table[i * columns + j]; };
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j <= prediction.size(); ++j) {
      at(i, j) = reference[i - 1] == prediction[j - 1] ? at(i - 1, j - 1) + 1 : std::max(at(i - 1, j), at(i, j - 1));
    }
  }
  for (size_t i = reference.size(), j = prediction.size(); i > 0 && j > 0;) {
    if (reference[i - 1] == prediction[j - 1]) {
      common[reference[i - 1]] = true;
      --i;
      --j;
    } else if (at(i - 1, j) > at(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
}

double Share(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view DigitsAt(std::string_view text, size_t from) {
  size_t end = from;
  while (end < text.size() && IsDigit(text[end])) ++end;
  return text.substr(from, end - from);
}

double ShareOfNumbers(std::string_view prediction, std::string_view gold) {
  int64_t n = 0, equal = 0;
  for (size_t i = 0; i < prediction.size(); ++i) {
    const std::string_view digits = DigitsAt(prediction, i);
    if (digits.empty()) continue;
    ++n;
    equal += digits == gold ? 1 : 0;
    i += digits.size();
  }
  return n == 0 ? 0 : Share(equal, n);
}

std::string_view SkipNewlines(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}

}  // namespace

double QaF1(std::string_view prediction, std::string_view gold) {
  WordCounts predicted, wanted;
  const int64_t n_predicted = CountWords(prediction, predicted), n_wanted = CountWords(gold, wanted);
  int64_t n_same = 0;
  for (const auto& [word, count] : predicted) {
    if (const auto found = wanted.find(word); found != wanted.end()) n_same += std::min(count, found->second);
  }
  if (n_same == 0) return 0;
  const double precision = Share(n_same, n_predicted), recall = Share(n_same, n_wanted);
  return 2 * precision * recall / (precision + recall);
}

double RougeL(std::string_view prediction, std::string_view gold) {
  WordIds ids;
  const auto predicted = Pieces(prediction, ids), wanted = Pieces(gold, ids);
  if (predicted.empty() || wanted.empty()) return 0;
  std::vector<bool> common(ids.size());
  for (const Piece& reference : wanted) {
    for (const Piece& piece : predicted) MarkCommon(reference, piece, common);
  }
  const int64_t n_common = std::count(common.begin(), common.end(), true);
  const double precision = Share(n_common, CountDistinct(predicted, ids.size()));
  const double recall = Share(n_common, CountDistinct(wanted, ids.size()));
  return 2 * precision * recall / (precision + recall + 1e-8);
}

double Retrieval(std::string_view prediction, std::string_view gold) {
  constexpr std::string_view kMarker = "Paragraph ";
  for (size_t at = gold.find(kMarker); at != std::string_view::npos; at = gold.find(kMarker, at + 1)) {
    const std::string_view number = DigitsAt(gold, at + kMarker.size());
    if (!number.empty()) return ShareOfNumbers(prediction, number);
  }
  return 0;
}

double CountScore(std::string_view prediction, std::string_view gold) { return ShareOfNumbers(prediction, gold); }

double Classification(std::string_view prediction, std::string_view gold, std::span<const std::string> classes) {
  std::vector<std::string_view> named;
  for (const std::string& name : classes) {
    if (prediction.find(name) != std::string_view::npos) named.push_back(name);
  }
  for (size_t i = 0; i < named.size(); ++i) {
    const bool inside = named[i] != gold && gold.find(named[i]) != std::string_view::npos;
    if (inside) named.erase(named.begin() + static_cast<int64_t>(i));
  }
  const bool found = std::find(named.begin(), named.end(), gold) != named.end();
  return found ? Share(1, static_cast<int64_t>(named.size())) : 0;
}

std::string_view FirstCodeLine(std::string_view text) {
  for (size_t i = text.size() - SkipNewlines(text).size(); i <= text.size();) {
    const size_t end = std::min(text.find('\n', i), text.size());
    const std::string_view line = text.substr(i, end - i);
    if (line.find_first_of("`#") == std::string_view::npos && line.find("//") == std::string_view::npos) return line;
    i = end + 1;
  }
  return {};
}

double CodeSim(std::string_view prediction, std::string_view gold) {
  return MatchingRatio(DecodeUtf8(FirstCodeLine(prediction)), DecodeUtf8(gold));
}

std::string_view FirstLine(std::string_view text) {
  text = SkipNewlines(text);
  return text.substr(0, text.find('\n'));
}

BestScore ScoreAnswers(LongBenchMetric metric, std::string_view prediction, std::span<const std::string> answers,
                       std::span<const std::string> classes) {
  const auto score = [&](std::string_view gold) {
    switch (metric) {
      case LongBenchMetric::kQaF1: return QaF1(prediction, gold);
      case LongBenchMetric::kRougeL: return RougeL(prediction, gold);
      case LongBenchMetric::kRetrieval: return Retrieval(prediction, gold);
      case LongBenchMetric::kCount: return CountScore(prediction, gold);
      case LongBenchMetric::kClassification: return Classification(prediction, gold, classes);
      case LongBenchMetric::kCodeSim: return CodeSim(prediction, gold);
    }
    return 0.0;
  };
  BestScore best{.score = score(answers[0]), .answer = 0};
  for (size_t i = 1; i < answers.size(); ++i) {
    if (const double s = score(answers[i]); s > best.score) best = {.score = s, .answer = static_cast<int32_t>(i)};
  }
  return best;
}

int32_t LengthBucket(int64_t length_words) {
  constexpr int64_t kShortWords = 4000, kMediumWords = 8000;
  if (length_words < kShortWords) return 0;
  return length_words < kMediumWords ? 1 : 2;
}

}  // namespace arkvale::tools
