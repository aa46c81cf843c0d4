// Mover: the only file of the cache that starts copies between tiers.
//
// Backups (slot to RAM block) and recalls (block to slot) run on streams of their own; each returns a Copy to wait for.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "arkvale/status.h"
#include "device/device.h"
#include "kv/block_pool.h"

namespace arkvale {

// Where one page of one group lies: head i of the group at k + i * k_head_stride (bytes), each contiguous.
struct PageAddress {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  int64_t k_head_stride = 0;
  int64_t v_head_stride = 0;
};

// Bytes of one page per head, and how many heads.
struct PageExtent {
  int64_t k_bytes = 0;
  int64_t v_bytes = 0;
  int32_t heads = 1;

  int64_t bytes() const { return heads * (k_bytes + v_bytes); }
};

class Mover {
 public:
  enum class Direction : uint8_t { kBackup, kRecall };
  struct Copy {
    Direction direction = Direction::kBackup;
    CopyRange copies;
  };

  explicit Mover(Device& hot_device);

  // Throws std::bad_alloc where a stream cannot queue; nothing is under way then.
  Copy Start(Direction direction, const PageAddress& dst, const PageAddress& src, const PageExtent& extent);
  // Unavailable when it failed: start it again.
  Status Wait(const Copy& copy);
  bool Done(const Copy& copy) const;

  // RAM to RAM, at once: a private copy of a shared block (copy on write).
  static void CopyBlock(const BlockPool& pool, BlockId dst, BlockId src);

 private:
  Stream& stream(Direction d) const { return d == Direction::kBackup ? *backup_ : *recall_; }

  std::unique_ptr<Stream> backup_;
  std::unique_ptr<Stream> recall_;
};

}  // namespace arkvale
