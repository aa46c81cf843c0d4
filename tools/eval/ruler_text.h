// Texts of eval ruler (evaluation protocol 3): needles in haystacks, chains of variables, common and frequent words.
// Shapes and wordings follow RULER (arXiv 2404.06654) with made-up words and a novel in place of its word lists and
// essays: its published values are no measure for these.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace arkvale::tools {

enum class RulerKind : uint8_t { kNeedle, kVariables, kCommonWords, kFrequentWords };
enum class RulerHaystack : uint8_t { kNoise, kBook, kNeedles, kNumberedList, kCodedText };

std::string_view RulerHaystackName(RulerHaystack haystack);

struct RulerTask {
  std::string_view name;        // "niah_single_1"
  std::string_view short_name;  // "S-1"
  RulerKind kind;
  RulerHaystack haystack;
  int32_t max_new;  // longest answer in tokens
  // Of needles: keys hidden, values of each, keys asked for, and whether keys and values are UUIDs.
  int32_t n_keys = 1, n_values = 1, n_queries = 1;
  bool uuid_keys = false, uuid_values = false;

  // Bounds of the size below for a record of T tokens.
  int64_t min_size() const;
  int64_t max_size(int64_t length_tokens) const;
};

// All eleven, in the protocol's order.
std::span<const RulerTask> RulerTasks();
// By either name; null where it is unknown.
const RulerTask* FindRulerTask(std::string_view name);

struct RulerText {
  std::string context, question;
  std::vector<std::string> refs;  // what an answer should hold
};

// Record `index` of length T, drawn by Rng "{task}/{seed}/{T}/{index}". `size`, at least min_size(): sentences, lines,
// words or coded words of the haystack. `book`: its sentences, not empty for RulerHaystack::kBook.
RulerText MakeRulerText(const RulerTask& task, uint64_t seed, int64_t length_tokens, int64_t index, int64_t size,
                        std::span<const std::string> book);

// How refs are looked for: ASCII letters of either case, bytes below 0x20 as newlines.
enum class RulerRule : uint8_t {
  kAll,   // the share of refs that the prediction holds
  kPart,  // 1 where it holds any
};
// 0 for no refs.
double RulerScore(std::string_view prediction, std::span<const std::string> refs, RulerRule rule);

}  // namespace arkvale::tools
