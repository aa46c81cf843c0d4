// Distinct integer types of the cache: a page is not a slot is not a block.
#pragma once

#include <compare>
#include <cstdint>
#include <ostream>

namespace arkvale {

template <typename Tag>
class Id {
 public:
  constexpr Id() = default;  // invalid
  constexpr explicit Id(int32_t value) : value_(value) {}
  constexpr int32_t value() const { return value_; }
  constexpr bool valid() const { return value_ >= 0; }
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 misreads a defaulted comparison
  constexpr auto operator<=>(const Id&) const = default;
  friend std::ostream& operator<<(std::ostream& os, Id id) { return os << Tag::kName << id.value_; }

 private:
  int32_t value_ = -1;
};

struct SeqTag {
  static constexpr const char* kName = "seq";
};
struct BlockTag {
  static constexpr const char* kName = "block";
};
struct SlotTag {
  static constexpr const char* kName = "slot";
};

using SeqId = Id<SeqTag>;      // one sequence of a KvCache; never reused
using BlockId = Id<BlockTag>;  // 64 tokens of all kv heads of a layer in a BlockPool
using SlotId = Id<SlotTag>;    // one page of one group in a tier that moves bytes

}  // namespace arkvale
