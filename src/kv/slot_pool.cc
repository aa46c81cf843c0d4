#include "kv/slot_pool.h"

#include "base/check.h"

namespace arkvale {

Result<SlotPool> SlotPool::Make(Device& device, int32_t n_slots, int64_t k_slot_bytes, int64_t v_slot_bytes) {
  SlotPool pool;
  pool.k_slot_bytes_ = k_slot_bytes;
  pool.v_slot_bytes_ = v_slot_bytes;
  pool.n_slots_ = n_slots;
  pool.free_.reserve(n_slots);
  ARKVALE_ASSIGN_OR_RETURN(pool.k_, device.Allocate(n_slots * k_slot_bytes));
  ARKVALE_ASSIGN_OR_RETURN(pool.v_, device.Allocate(n_slots * v_slot_bytes));
  for (int32_t i = n_slots; i > 0; --i) pool.free_.push_back(SlotId(i - 1));
  return pool;
}

SlotId SlotPool::Acquire() {
  if (free_.empty()) return {};
  const SlotId slot = free_.back();
  free_.pop_back();
  return slot;
}

void SlotPool::Release(SlotId slot) {
  ARKVALE_CHECK(slot.valid() && slot.value() < n_slots_);
  free_.push_back(slot);
}

}  // namespace arkvale
