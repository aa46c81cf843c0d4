#include "tools/eval/matching_blocks.h"

#include <cmath>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace arkvale::tools {
namespace {

constexpr size_t kPopularFromSize = 200;

struct Range {
  size_t a_begin, a_end, b_begin, b_end;
};

struct Block {
  size_t a, b, size = 0;
};

// Where each character that may start a block stands in `b`, ascending.
using Positions = std::unordered_map<char32_t, std::vector<size_t>>;

Positions FindPositions(std::u32string_view b) {
  Positions positions;
  for (size_t j = 0; j < b.size(); ++j) positions[b[j]].push_back(j);
  if (b.size() >= kPopularFromSize) {
    std::erase_if(positions, [&](const auto& entry) { return entry.second.size() > b.size() / 100 + 1; });
  }
  return positions;
}

Block LongestBlock(std::u32string_view a, std::u32string_view b, const Positions& positions, const Range& range) {
  Block best{.a = range.a_begin, .b = range.b_begin};
  std::unordered_map<size_t, size_t> lengths, next;  // of the blocks that end at a position of b
  for (size_t i = range.a_begin; i < range.a_end; ++i) {
    next.clear();
    if (const auto found = positions.find(a[i]); found != positions.end()) {
      for (const size_t j : found->second) {
        if (j < range.b_begin) continue;
        if (j >= range.b_end) break;
        const auto before = j > 0 ? lengths.find(j - 1) : lengths.end();
        const size_t size = (before == lengths.end() ? 0 : before->second) + 1;
        next[j] = size;
        if (size > best.size) best = {.a = i + 1 - size, .b = j + 1 - size, .size = size};
      }
    }
    lengths.swap(next);
  }
  while (best.a > range.a_begin && best.b > range.b_begin && a[best.a - 1] == b[best.b - 1]) {
    --best.a;
    --best.b;
    ++best.size;
  }
  while (best.a + best.size < range.a_end && best.b + best.size < range.b_end &&
         a[best.a + best.size] == b[best.b + best.size]) {
    ++best.size;
  }
  return best;
}

size_t CountMatched(std::u32string_view a, std::u32string_view b) {
  const Positions positions = FindPositions(b);
  std::vector<Range> open = {{0, a.size(), 0, b.size()}};
  size_t matched = 0;
  while (!open.empty()) {
    const Range range = open.back();
    open.pop_back();
    const Block block = LongestBlock(a, b, positions, range);
    if (block.size == 0) continue;
    matched += block.size;
    open.push_back({range.a_begin, block.a, range.b_begin, block.b});
    open.push_back({block.a + block.size, range.a_end, block.b + block.size, range.b_end});
  }
  return matched;
}

}  // namespace

double MatchingRatio(std::u32string_view a, std::u32string_view b) {
  if (a == b) return 1;
  if (a.empty() || b.empty()) return 0;
  const double ratio = 2.0 * static_cast<double>(CountMatched(a, b)) / static_cast<double>(a.size() + b.size());
  return std::nearbyint(100 * ratio) / 100;
}

}  // namespace arkvale::tools
