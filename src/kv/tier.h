// Tiers: where hot pages live and whether the compute unit reads the backing tier in place.
#pragma once

#include <cstdint>

namespace arkvale {

class Device;

// RAM read in place (the default): a recall or eviction changes only the page table. With a `hot_device` the pages of
// managed layers live in slots of that device's memory, their backups in RAM blocks, and recalls really move bytes.
struct TierConfig {
  Device* hot_device = nullptr;  // borrowed, must outlive the cache; null = read in place

  bool reads_in_place() const { return hot_device == nullptr; }
};

}  // namespace arkvale
