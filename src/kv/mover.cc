#include "kv/mover.h"

#include <cstring>

namespace arkvale {

Mover::Mover(Device& hot_device) : backup_(hot_device.NewStream()), recall_(hot_device.NewStream()) {}

Mover::Copy Mover::Start(Direction direction, const PageAddress& dst, const PageAddress& src,
                         const PageExtent& extent) {
  Stream& s = stream(direction);
  CopyRange range;
  try {
    for (int32_t h = 0; h < extent.heads; ++h) {
      range.last = s.CopyAsync(dst.k + h * dst.k_head_stride, src.k + h * src.k_head_stride, extent.k_bytes);
      if (h == 0) range.first = range.last;
      range.last = s.CopyAsync(dst.v + h * dst.v_head_stride, src.v + h * src.v_head_stride, extent.v_bytes);
    }
  } catch (...) {
    (void)s.Wait(range);  // no copy that nobody knows of may run later
    throw;
  }
  return {direction, range};
}

Status Mover::Wait(const Copy& copy) { return stream(copy.direction).Wait(copy.copies); }

bool Mover::Done(const Copy& copy) const { return stream(copy.direction).Done(copy.copies); }

void Mover::CopyBlock(const BlockPool& pool, BlockId dst, BlockId src) {
  std::memcpy(pool.k(dst), pool.k(src), pool.k_block_bytes());
  std::memcpy(pool.v(dst), pool.v(src), pool.v_block_bytes());
}

}  // namespace arkvale
