// PageTable: the states of all pages of one (sequence, managed layer), and who may move a page between them.
//
//            Open            Fill               BackupDone            Evict
//   (none) -------> filling -------> backing up -----------> resident -------> evicted
//                                                               ^                 | BeginRecall
//                                                               |   EndRecall     v
//                                                               +------------ recalling
//
// Undo (a batch that is aborted): Unfill takes a full page back to filling, Close forgets the last page.
// A page that is filling, backing up or resident is *hot*: it may be read. Any other transition is our bug (CHECK).
// Counters change here and nowhere else. Threads: one at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "arkvale/stats.h"
#include "kv/ids.h"

namespace arkvale {

enum class PageState : uint8_t { kFilling, kBackingUp, kResident, kEvicted, kRecalling };

constexpr bool IsHot(PageState s) { return s <= PageState::kResident; }

// Bit i: states[i] is hot. At most 64 states.
uint64_t HotBits(std::span<const PageState> states);

// Calls visit(page) for the hot pages of [begin, end), ascending: few cycles for eight pages of which none is.
template <typename Visit>
void ForEachHot(std::span<const PageState> states, int32_t begin, int32_t end, const Visit& visit) {
  for (int32_t first = begin; first < end; first += 64) {
    const int32_t n = std::min(end - first, 64);
    for (uint64_t bits = HotBits(states.subspan(first, n)); bits != 0; bits &= bits - 1) {
      visit(first + std::countr_zero(bits));
    }
  }
}

class PageTable {
 public:
  // `page_bytes`: K and V of one page of one group.
  PageTable(int32_t n_groups, int64_t page_bytes);

  int32_t n_groups() const { return static_cast<int32_t>(groups_.size()); }
  int32_t n_pages(int32_t group = 0) const { return static_cast<int32_t>(groups_[group].states.size()); }
  PageState state(int32_t group, int32_t page) const { return groups_[group].states[page]; }
  std::span<const PageState> states(int32_t group) const { return groups_[group].states; }
  // The slot a page holds or is being recalled into; invalid when evicted or in a tier read in place.
  SlotId slot(int32_t group, int32_t page) const { return groups_[group].slots[page]; }
  // Hot pages of a group, the filling one included.
  int32_t n_hot(int32_t group) const { return groups_[group].n_hot; }
  int64_t hot_bytes() const;

  // Room for n pages of each group, so that Open up to there does not allocate.
  void Reserve(int64_t n);
  // Appends a page in state filling. Returns its index.
  int32_t Open(int32_t group, SlotId slot);
  void Fill(int32_t group, int32_t page);
  void BackupDone(int32_t group, int32_t page);
  // Returns the slot that is free now.
  SlotId Evict(int32_t group, int32_t page);
  void BeginRecall(int32_t group, int32_t page, SlotId slot);
  // The copy ended. On failure the page is evicted as before and its slot, which is returned, is free.
  SlotId EndRecall(int32_t group, int32_t page, bool ok);

  void Unfill(int32_t group, int32_t page);
  // Forgets the last page of a group in any state but recalling. Returns its slot.
  SlotId Close(int32_t group);

  const KvCounters& counters() const { return counters_; }
  void CountSelection(int64_t n_selected);
  void CountStreamed(int64_t pages) { counters_.streamed += pages; }
  void CountMoved(int64_t bytes) { counters_.moved_bytes += bytes; }

 private:
  struct Group {
    std::vector<PageState> states;
    std::vector<SlotId> slots;
    int32_t n_hot = 0;
  };
  void Move(int32_t group, int32_t page, PageState from, PageState to);

  const int64_t page_bytes_;
  std::vector<Group> groups_;
  KvCounters counters_;
};

}  // namespace arkvale
