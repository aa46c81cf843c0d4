// What the generators of ruler_text.h share: draws of one record, and the kinds of text.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "tools/eval/ruler_text.h"

namespace arkvale::tools {

// The draws of one record. Fresh*: strings that it has not given before.
class RulerDraw {
 public:
  explicit RulerDraw(std::string_view name) : rng(name) {}

  std::string FreshKeyWord();                      // "babe-lomo"
  std::string FreshWord();                         // three syllables
  std::string FreshLetters(char first, size_t n);  // n of the 26 from `first` on
  std::string FreshNumber(uint64_t least, uint64_t n);
  std::string FreshUuid();

  Rng rng;

 private:
  template <typename Draw>
  std::string Fresh(const Draw& draw);
  std::string Syllables(int n);

  std::set<std::string> used_;
};

std::string Join(std::span<const std::string> parts, std::string_view separator);

RulerText MakeNeedleText(const RulerTask& task, int64_t size, std::span<const std::string> book, RulerDraw& draw);
RulerText MakeVariablesText(int64_t size, RulerDraw& draw);
RulerText MakeCommonWordsText(int64_t length_tokens, int64_t size, RulerDraw& draw);
RulerText MakeFrequentWordsText(int64_t length_tokens, int64_t size, RulerDraw& draw);

}  // namespace arkvale::tools
