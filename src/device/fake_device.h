// FakeDevice: a device whose copies run one by one when a test says so, for proving that nothing reads a page before
// its copy ended and that failed copies lose nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "device/device.h"

namespace arkvale {

class FakeDevice final : public Device {
 public:
  const char* name() const override { return "fake"; }
  Result<Buffer> Allocate(size_t bytes) override;
  std::unique_ptr<Stream> NewStream() override;

  // Runs the oldest queued copy of stream number `stream` (in order of creation). False when nothing is queued there.
  bool RunOne(size_t stream);
  size_t n_streams() const { return streams_.size(); }
  int64_t queued(size_t stream) const;

  // The copy that runs after `n` further ones fails (0 = the next).
  void FailCopyAfter(int64_t n) { fail_after_ = n; }
  // Allocations beyond this many bytes in all fail; < 0 = no limit.
  void LimitBytes(int64_t bytes) { limit_bytes_ = bytes; }
  int64_t allocated_bytes() const { return allocated_bytes_; }
  int64_t copied_bytes() const { return copied_bytes_; }

 private:
  class FakeStream;
  void Free(std::byte* data, size_t bytes) override;

  std::vector<FakeStream*> streams_;
  int64_t fail_after_ = -1;
  int64_t limit_bytes_ = -1;
  int64_t allocated_bytes_ = 0;
  int64_t copied_bytes_ = 0;
};

}  // namespace arkvale
