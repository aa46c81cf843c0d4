#include "tools/eval/ruler_text.h"

#include <algorithm>
#include <array>

#include "tools/eval/ruler_draw.h"

namespace arkvale::tools {
namespace {

using enum RulerKind;
using enum RulerHaystack;

constexpr int32_t kNeedleTokens = 128;

constexpr auto kTasks = std::to_array<RulerTask>({
    {"niah_single_1", "S-1", kNeedle, kNoise, kNeedleTokens},
    {"niah_single_2", "S-2", kNeedle, kBook, kNeedleTokens},
    {"niah_single_3", "S-3", kNeedle, kBook, kNeedleTokens, 1, 1, 1, false, true},
    {"niah_multikey_1", "MK-1", kNeedle, kBook, kNeedleTokens, 4},
    {"niah_multikey_2", "MK-2", kNeedle, kNeedles, kNeedleTokens},
    {"niah_multikey_3", "MK-3", kNeedle, kNeedles, kNeedleTokens, 1, 1, 1, true, true},
    {"niah_multivalue", "MV", kNeedle, kBook, kNeedleTokens, 1, 4},
    {"niah_multiquery", "MQ", kNeedle, kBook, kNeedleTokens, 4, 1, 4},
    {"vt", "VT", kVariables, kNoise, 30},
    {"cwe", "CWE", kCommonWords, kNumberedList, 120},
    {"fwe", "FWE", kFrequentWords, kCodedText, 50},
});

// What a search for refs sees of a text.
std::string Folded(std::string_view text) {
  std::string folded(text);
  for (char& c : folded) {
    if (static_cast<unsigned char>(c) < 0x20) c = '\n';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return folded;
}

}  // namespace

std::string_view RulerHaystackName(RulerHaystack haystack) {
  switch (haystack) {
    case kNoise: return "noise";
    case kBook: return "book";
    case kNeedles: return "needle";
    case kNumberedList: return "numbered list";
    case kCodedText: return "coded text";
  }
  return "";
}

int64_t RulerTask::min_size() const { return kind == kCommonWords ? 20 : kind == kFrequentWords ? 100 : 5; }

int64_t RulerTask::max_size(int64_t length_tokens) const {
  return kind == kFrequentWords ? length_tokens : length_tokens / 4;
}

std::span<const RulerTask> RulerTasks() { return kTasks; }

const RulerTask* FindRulerTask(std::string_view name) {
  const auto* task =
      std::find_if(kTasks.begin(), kTasks.end(), [&](const auto& t) { return t.name == name || t.short_name == name; });
  return task == kTasks.end() ? nullptr : task;
}

RulerText MakeRulerText(const RulerTask& task, uint64_t seed, int64_t length_tokens, int64_t index, int64_t size,
                        std::span<const std::string> book) {
  RulerDraw draw(std::string(task.name) + "/" + std::to_string(seed) + "/" + std::to_string(length_tokens) + "/" +
                 std::to_string(index));
  switch (task.kind) {
    case kNeedle: return MakeNeedleText(task, size, book, draw);
    case kVariables: return MakeVariablesText(size, draw);
    case kCommonWords: return MakeCommonWordsText(length_tokens, size, draw);
    case kFrequentWords: return MakeFrequentWordsText(length_tokens, size, draw);
  }
  return {};
}

double RulerScore(std::string_view prediction, std::span<const std::string> refs, RulerRule rule) {
  const std::string text = Folded(prediction);
  const auto n_found = std::count_if(refs.begin(), refs.end(),
                                     [&](const std::string& ref) { return text.find(Folded(ref)) != text.npos; });
  if (rule == RulerRule::kPart || refs.empty()) return n_found > 0 ? 1 : 0;
  return static_cast<double>(n_found) / static_cast<double>(refs.size());
}

}  // namespace arkvale::tools
