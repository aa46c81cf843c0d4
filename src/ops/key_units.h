// KeyUnit: 64 entries of a row's list of pages, for ops that score every listed token and do not care how the tokens
// are divided.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/dtype.h"
#include "ops/paged_kv.h"

namespace arkvale {

constexpr int64_t kUnitKeys = 64;

// Entry j is token j % page_tokens of page j / page_tokens of the list, read or not.
template <typename T>
struct KeyUnit {
  uint64_t listed = 0;          // bit j: entry j is a token to be read
  int64_t position[kUnitKeys];  // increasing; behind the list, the largest number
  const T* k[kUnitKeys];        // of entries that are not to be read: some other entry's
};

inline int64_t KeyUnits(const PagedKv& kv, int32_t row) {
  return ((kv.page_begin[row + 1] - kv.page_begin[row]) * kv.page_tokens + kUnitKeys - 1) / kUnitKeys;
}

// Entries [64 * index, 64 * index + 64) of a row's list for one of its kv heads (counted inside the row).
template <typename T>
void CollectKeys(const PagedKv& kv, int32_t row, int32_t head, int64_t index, KeyUnit<T>& unit) {
  const int64_t begin = kv.page_begin[row], n_pages = kv.page_begin[row + 1] - begin,
                stride = RowStride<T>(kv.head_dim_k);
  int64_t page = index * kUnitKeys / kv.page_tokens, first = index * kUnitKeys % kv.page_tokens;
  unit.listed = 0;
  for (int64_t at = 0; at < kUnitKeys; ++page, first = 0) {
    const int64_t n = page < n_pages ? std::min(kv.page_tokens - first, kUnitKeys - at) : kUnitKeys - at;
    if (page >= n_pages) {
      std::fill_n(unit.position + at, n, std::numeric_limits<int64_t>::max());
    } else {
      const int64_t from = page == 0 && kv.first_page_skip != nullptr ? kv.first_page_skip[row] : 0;
      const int64_t to = page + 1 == n_pages ? kv.last_page_tokens[row] : kv.page_tokens;
      const auto* k = reinterpret_cast<const T*>(KeyPage(kv, kv.page_ids[begin + page], kv.head0[row] + head));
      for (int64_t i = 0; i < n; ++i) {
        unit.position[at + i] = kv.page_positions[begin + page] + first + i;
        unit.k[at + i] = k + (first + i) * stride;
      }
      for (int64_t i = std::max<int64_t>(0, from - first); i < std::min(n, to - first); ++i) {
        unit.listed |= uint64_t{1} << (at + i);
      }
    }
    at += n;
  }
  if (unit.listed == 0 || ~unit.listed == 0) return;
  const T* const some = unit.k[std::countr_zero(unit.listed)];
  for (int64_t i = 0; i < kUnitKeys; ++i) {
    if ((unit.listed >> i & 1) == 0) unit.k[i] = some;
  }
}

// How many entries lie at positions up to `to`: the first ones.
template <typename T>
int32_t KeysUpTo(const KeyUnit<T>& unit, int64_t to) {
  if (unit.position[kUnitKeys - 1] <= to) return kUnitKeys;
  return static_cast<int32_t>(std::upper_bound(unit.position, unit.position + kUnitKeys, to) - unit.position);
}

}  // namespace arkvale
