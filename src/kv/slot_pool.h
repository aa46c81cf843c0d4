// SlotPool: hot storage of one (sequence, managed layer) in a tier that moves bytes. A slot holds one page of one
// group: K [group_heads, page_tokens, head_dim_k] and V likewise, in memory of the hot device. Threads: one at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "arkvale/status.h"
#include "device/device.h"
#include "kv/ids.h"

namespace arkvale {

class SlotPool {
 public:
  static Result<SlotPool> Make(Device& device, int32_t n_slots, int64_t k_slot_bytes, int64_t v_slot_bytes);
  SlotPool() = default;

  // An invalid id when every slot is taken. Neither allocates.
  SlotId Acquire();
  void Release(SlotId slot);
  int64_t bytes() const { return n_slots_ * (k_slot_bytes_ + v_slot_bytes_); }

  std::byte* k_base() const { return k_.data(); }
  std::byte* v_base() const { return v_.data(); }
  std::byte* k(SlotId slot) const { return k_.data() + slot.value() * k_slot_bytes_; }
  std::byte* v(SlotId slot) const { return v_.data() + slot.value() * v_slot_bytes_; }

 private:
  Buffer k_, v_;
  int64_t k_slot_bytes_ = 0;
  int64_t v_slot_bytes_ = 0;
  int32_t n_slots_ = 0;
  std::vector<SlotId> free_;
};

}  // namespace arkvale
