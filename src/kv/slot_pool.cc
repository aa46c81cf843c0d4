#include "kv/slot_pool.h"

#include <string>
#include <utility>

#include "base/check.h"

namespace arkvale {

Result<SlotPool> SlotPool::Make(Device& device, int32_t n_slots, int64_t k_slot_bytes, int64_t v_slot_bytes,
                                ByteBudget* budget) {
  const int64_t bytes = n_slots * (k_slot_bytes + v_slot_bytes);
  if (!budget->TryTake(bytes)) {
    return ResourceExhausted("hot KV memory is full: " + std::to_string(bytes) + " bytes asked, " +
                             std::to_string(budget->used()) + " of " + std::to_string(budget->limit()) +
                             " in use; use a smaller --kv-budget");
  }
  SlotPool pool;
  pool.k_slot_bytes_ = k_slot_bytes;
  pool.v_slot_bytes_ = v_slot_bytes;
  pool.n_slots_ = n_slots;
  pool.budget_ = budget;  // from here on the destructor gives the bytes back
  ARKVALE_ASSIGN_OR_RETURN(pool.k_, device.Allocate(n_slots * k_slot_bytes));
  ARKVALE_ASSIGN_OR_RETURN(pool.v_, device.Allocate(n_slots * v_slot_bytes));
  for (int32_t i = n_slots; i > 0; --i) pool.free_.push_back(SlotId(i - 1));
  return pool;
}

SlotPool& SlotPool::operator=(SlotPool&& o) noexcept {
  std::swap(k_, o.k_);
  std::swap(v_, o.v_);
  std::swap(k_slot_bytes_, o.k_slot_bytes_);
  std::swap(v_slot_bytes_, o.v_slot_bytes_);
  std::swap(n_slots_, o.n_slots_);
  std::swap(budget_, o.budget_);
  std::swap(free_, o.free_);
  return *this;
}

SlotPool::~SlotPool() {
  if (budget_ != nullptr) budget_->Give(bytes());
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
