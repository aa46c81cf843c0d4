#include "kv/page_table.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "kv/grow.h"

namespace arkvale {

uint64_t HotBits(std::span<const PageState> states) {
  static_assert(std::endian::native == std::endian::little && static_cast<int>(PageState::kRecalling) < 128);
  constexpr uint64_t kEach = 0x0101010101010101;
  constexpr auto kCold = static_cast<uint64_t>(PageState::kResident) + 1;
  uint64_t bits = 0;
  for (size_t i = 0; i < states.size(); i += 8) {
    uint64_t eight = kEach * kCold;
    std::memcpy(&eight, states.data() + i, std::min<size_t>(8, states.size() - i));
    // The top bit of a byte is set where it holds kCold or more; the product gathers the eight others in its top byte.
    const uint64_t hot = ~(eight + kEach * (128 - kCold)) >> 7 & kEach;
    bits |= (hot * 0x0102040810204080 >> 56) << i;
  }
  return bits;
}

PageTable::PageTable(int32_t n_groups, int64_t page_bytes) : page_bytes_(page_bytes), groups_(n_groups) {}

int64_t PageTable::hot_bytes() const {
  int64_t pages = 0;
  for (const Group& g : groups_) pages += g.n_hot;
  return pages * page_bytes_;
}

void PageTable::Move(int32_t group, int32_t page, PageState from, PageState to) {
  Group& g = groups_[group];
  ARKVALE_CHECK(g.states[page] == from);
  g.states[page] = to;
  g.n_hot += static_cast<int>(IsHot(to)) - static_cast<int>(IsHot(from));
}

void PageTable::Reserve(int64_t n) {
  for (Group& g : groups_) {
    GrowCapacity(g.states, n);
    GrowCapacity(g.slots, n);
  }
}

int32_t PageTable::Open(int32_t group, SlotId slot) {
  Group& g = groups_[group];
  ARKVALE_CHECK(g.states.empty() || g.states.back() != PageState::kFilling);
  g.states.push_back(PageState::kFilling);
  g.slots.push_back(slot);
  ++g.n_hot;
  ++counters_.inserted;
  return static_cast<int32_t>(g.states.size()) - 1;
}

void PageTable::Fill(int32_t group, int32_t page) {
  Move(group, page, PageState::kFilling, PageState::kBackingUp);
  ++counters_.filled;
}

void PageTable::BackupDone(int32_t group, int32_t page) {
  Move(group, page, PageState::kBackingUp, PageState::kResident);
  ++counters_.backed_up;
}

SlotId PageTable::Evict(int32_t group, int32_t page) {
  Move(group, page, PageState::kResident, PageState::kEvicted);
  ++counters_.evicted;
  return std::exchange(groups_[group].slots[page], SlotId());
}

void PageTable::BeginRecall(int32_t group, int32_t page, SlotId slot) {
  Move(group, page, PageState::kEvicted, PageState::kRecalling);
  groups_[group].slots[page] = slot;
}

SlotId PageTable::EndRecall(int32_t group, int32_t page, bool ok) {
  if (!ok) {
    Move(group, page, PageState::kRecalling, PageState::kEvicted);
    return std::exchange(groups_[group].slots[page], SlotId());
  }
  Move(group, page, PageState::kRecalling, PageState::kResident);
  ++counters_.recalled;
  counters_.recalled_bytes += page_bytes_;
  return SlotId();
}

void PageTable::Unfill(int32_t group, int32_t page) {
  const PageState state = groups_[group].states[page];
  ARKVALE_CHECK(page == n_pages(group) - 1);
  if (state == PageState::kResident) --counters_.backed_up;
  Move(group, page, state == PageState::kResident ? PageState::kResident : PageState::kBackingUp, PageState::kFilling);
  --counters_.filled;
}

SlotId PageTable::Close(int32_t group) {
  Group& g = groups_[group];
  const PageState state = g.states.back();
  ARKVALE_CHECK(state != PageState::kRecalling);
  --counters_.inserted;
  if (state != PageState::kFilling) --counters_.filled;
  if (state == PageState::kResident || state == PageState::kEvicted) --counters_.backed_up;
  if (state == PageState::kEvicted) --counters_.evicted;
  g.n_hot -= static_cast<int>(IsHot(state));
  const SlotId slot = g.slots.back();
  g.states.pop_back();
  g.slots.pop_back();
  return slot;
}

void PageTable::CountSelection(int64_t n_selected) {
  ++counters_.scored_steps;
  counters_.selected_pages += n_selected;
}

}  // namespace arkvale
