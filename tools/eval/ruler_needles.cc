// Needles in noise, in a book, or among other needles.
#include <algorithm>
#include <functional>

#include "tools/eval/passkey_text.h"
#include "tools/eval/ruler_draw.h"

namespace arkvale::tools {
namespace {

// Needles go to `kDepths` places, evenly from the start of a book part to its end.
constexpr uint64_t kDepths = 40;

struct Needles {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> values;  // of each key
  std::vector<std::string> lines;                // shuffled
};

std::string DrawKey(const RulerTask& task, RulerDraw& draw) {
  return task.uuid_keys ? draw.FreshUuid() : draw.FreshKeyWord();
}

std::string DrawValue(const RulerTask& task, RulerDraw& draw) {
  return task.uuid_values ? draw.FreshUuid() : draw.FreshNumber(1000000, 9000000);
}

std::string TypeName(const RulerTask& task, bool plural) {
  return std::string(task.uuid_values ? "uuid" : "number") + (plural ? "s" : "");
}

std::string Line(const RulerTask& task, const std::string& key, const std::string& value) {
  return "One of the special magic " + TypeName(task, true) + " for " + key + " is: " + value + ".";
}

Needles DrawNeedles(const RulerTask& task, RulerDraw& draw) {
  Needles needles;
  for (int32_t k = 0; k < task.n_keys; ++k) {
    needles.keys.push_back(DrawKey(task, draw));
    auto& values = needles.values.emplace_back();
    for (int32_t v = 0; v < task.n_values; ++v) {
      values.push_back(DrawValue(task, draw));
      needles.lines.push_back(Line(task, needles.keys.back(), values.back()));
    }
  }
  draw.rng.Shuffle(needles.lines);
  return needles;
}

std::string BookHaystack(const std::vector<std::string>& needles, int64_t size, std::span<const std::string> book,
                         RulerDraw& draw) {
  const auto h = static_cast<uint64_t>(size);
  const uint64_t start = draw.rng.Below(book.size());
  std::vector<uint64_t> positions = draw.rng.Sample(kDepths, needles.size());
  for (uint64_t& p : positions) {
    const uint64_t percent = (2 * 100 * p + kDepths - 1) / (2 * (kDepths - 1));  // rounded; never half-way
    p = h * percent / 100;
  }
  std::sort(positions.begin(), positions.end());
  std::vector<std::string> parts;
  size_t next = 0;
  for (uint64_t i = 0; i <= h; ++i) {
    while (next < needles.size() && positions[next] == i) parts.push_back(needles[next++]);
    if (i < h) parts.push_back(book[(start + i) % book.size()]);
  }
  return Join(parts, " ");
}

std::string LinesHaystack(const RulerTask& task, const std::vector<std::string>& needles, int64_t size,
                          RulerDraw& draw) {
  std::vector<std::string> lines;
  for (int64_t i = 0; i < size; ++i) {
    if (task.haystack == RulerHaystack::kNoise) {
      lines.emplace_back(PasskeyUnit());
    } else {
      const std::string key = DrawKey(task, draw);
      lines.push_back(Line(task, key, DrawValue(task, draw)));
    }
  }
  std::vector<uint64_t> at = draw.rng.Sample(static_cast<uint64_t>(size), needles.size());
  std::sort(at.begin(), at.end(), std::greater<>());
  for (size_t i = 0; i < needles.size(); ++i) lines.insert(lines.begin() + static_cast<int64_t>(at[i]), needles[i]);
  return Join(lines, "\n");
}

// "k", or "k1, k2, and k3".
std::string Listed(std::vector<std::string> keys) {
  if (keys.size() > 1) keys.back() = "and " + keys.back();
  return Join(keys, ", ");
}

}  // namespace

RulerText MakeNeedleText(const RulerTask& task, int64_t size, std::span<const std::string> book, RulerDraw& draw) {
  const Needles needles = DrawNeedles(task, draw);
  const std::string haystack = task.haystack == RulerHaystack::kBook ? BookHaystack(needles.lines, size, book, draw)
                                                                     : LinesHaystack(task, needles.lines, size, draw);
  RulerText text;
  std::vector<std::string> asked;
  for (const uint64_t q : draw.rng.Sample(needles.keys.size(), static_cast<uint64_t>(task.n_queries))) {
    asked.push_back(needles.keys[q]);
    text.refs.insert(text.refs.end(), needles.values[q].begin(), needles.values[q].end());
  }
  const bool plural = task.n_values * task.n_queries > 1;
  const std::string type = TypeName(task, plural), keys = Listed(asked);
  const std::string about = "special magic " + type + " for " + keys + " mentioned in the provided text";
  text.context = std::string(plural ? "Some special magic " + type + " are" : "A special magic " + type + " is") +
                 " hidden within the following text. Make sure to memorize it. I will quiz you about the " + type +
                 " afterwards.\n" + haystack;
  text.question = plural ? "\nWhat are all the " + about + "? The " + about + " are"
                         : "\nWhat is the " + about + "? The " + about + " is";
  return text;
}

}  // namespace arkvale::tools
