// Chains of variables, common words, frequent words.
#include <algorithm>
#include <numbers>

#include "tools/eval/passkey_text.h"
#include "tools/eval/ruler_draw.h"

namespace arkvale::tools {
namespace {

// What is shown once with its answer, and once without.
struct Part {
  std::string text, tail;
  std::vector<std::string> answer;
};

Part DrawChain(int64_t n_lines, RulerDraw& draw) {
  constexpr size_t kNames = 5;
  Part part;
  for (size_t i = 0; i < kNames; ++i) part.answer.push_back(draw.FreshLetters('A', 5));
  const std::string value = draw.FreshNumber(10000, 90000);
  std::vector<std::string> lines(static_cast<size_t>(n_lines), std::string(PasskeyUnit()));
  std::vector<uint64_t> at = draw.rng.Sample(static_cast<uint64_t>(n_lines), kNames);
  std::sort(at.begin(), at.end());
  for (size_t i = 0; i < kNames; ++i) {
    const std::string source = i == 0 ? value : "VAR " + part.answer[i - 1];
    lines.insert(lines.begin() + static_cast<int64_t>(at[i] + i), "VAR " + part.answer[i] + " = " + source);
  }
  part.text = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n";
  part.text += Join(lines, "\n");
  part.tail = "\nQuestion: Find all variables that are assigned the value " + value +
              " in the text above. Answer: According to the chain(s) of variable assignment in the text above, 5 "
              "variables are assigned the value " +
              value + ", they are: ";
  return part;
}

std::string Numbered(std::vector<std::string> words) {
  for (size_t i = 0; i < words.size(); ++i) words[i] = std::to_string(i + 1) + ". " + words[i];
  return Join(words, " ");
}

Part DrawWordList(int64_t n_words, int32_t common_times, int32_t other_times, RulerDraw& draw) {
  constexpr int64_t kCommon = 10;
  Part part;
  std::vector<std::string> list;
  for (int64_t i = 0; i < n_words; ++i) {
    const std::string word = draw.FreshWord();
    list.insert(list.end(), static_cast<size_t>(i < kCommon ? common_times : other_times), word);
    if (i < kCommon) part.answer.push_back(word);
  }
  draw.rng.Shuffle(list);
  part.text =
      "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
      "appear most often.\n" +
      Numbered(std::move(list));
  part.tail =
      "\nQuestion: What are the 10 most common words in the above list? Answer: The top 10 words that appear most "
      "often in the list are:";
  return part;
}

}  // namespace

RulerText MakeVariablesText(int64_t size, RulerDraw& draw) {
  constexpr int64_t kExampleLines = 5;
  const Part example = DrawChain(kExampleLines, draw);
  const Part part = DrawChain(size, draw);
  return {.context = example.text + example.tail + Join(example.answer, " ") + "\n\n" + part.text,
          .question = part.tail,
          .refs = part.answer};
}

RulerText MakeCommonWordsText(int64_t length_tokens, int64_t size, RulerDraw& draw) {
  const bool long_list = length_tokens >= 4096;
  const Part example = long_list ? DrawWordList(40, 10, 3, draw) : DrawWordList(20, 3, 1, draw);
  const Part part = long_list ? DrawWordList(size, 30, 3, draw) : DrawWordList(size, 6, 1, draw);
  return {.context = example.text + example.tail + " " + Numbered(example.answer) + "\n" + part.text,
          .question = part.tail,
          .refs = part.answer};
}

RulerText MakeFrequentWordsText(int64_t length_tokens, int64_t size, RulerDraw& draw) {
  const int64_t n_words = std::max<int64_t>(4, (length_tokens - 50) / 50);
  constexpr double kZeta2 = std::numbers::pi * std::numbers::pi / 6;  // shares of ranks add up to 1
  std::vector<std::string> list;
  RulerText text;
  for (int64_t rank = 1; rank <= n_words; ++rank) {
    std::string word = draw.FreshLetters('a', 6);
    if (rank == 1) word = "...";
    if (rank >= 2 && rank <= 4) text.refs.push_back(word);
    const double squared = static_cast<double>(rank) * static_cast<double>(rank);
    list.insert(list.end(), static_cast<size_t>(static_cast<double>(size) / squared / kZeta2), word);
  }
  draw.rng.Shuffle(list);
  text.context =
      "Read the following coded text and track the frequency of each coded word. Find the three most frequently "
      "appeared coded words. " +
      Join(list, " ");
  text.question =
      "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently "
      "appeared words in the above coded text? Answer: According to the coded text above, the three most frequently "
      "appeared words are:";
  return text;
}

}  // namespace arkvale::tools
