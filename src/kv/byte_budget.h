// ByteBudget: a counted, hard limit on bytes. Shared by the pools that draw on it. Threads: one at a time.
#pragma once

#include <cstdint>

namespace arkvale {

class ByteBudget {
 public:
  // `limit` 0 = none.
  explicit ByteBudget(int64_t limit = 0) : limit_(limit) {}

  bool TryTake(int64_t bytes) {
    if (limit_ > 0 && used_ + bytes > limit_) return false;
    used_ += bytes;
    return true;
  }
  void Give(int64_t bytes) { used_ -= bytes; }
  int64_t used() const { return used_; }
  int64_t limit() const { return limit_; }

 private:
  int64_t limit_;
  int64_t used_ = 0;
};

}  // namespace arkvale
