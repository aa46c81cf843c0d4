// Device: where bytes live and how they move. Memory is owned by Buffers; copies are queued on Streams and finish in
// order.
//
// Threads: a device may be shared; a stream belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "arkvale/status.h"

namespace arkvale {

class Device;

// Owns memory of one device; frees it when destroyed. Move-only.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, std::byte* data, size_t bytes) : device_(device), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(device_, o.device_);
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Consecutive copies of one stream. The default range is empty and done.
struct CopyRange {
  uint64_t first = 1;
  uint64_t last = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;

  // Queues a copy of `bytes` bytes and returns its number (counted from 1). Copies run in the order they were queued.
  // The caller keeps both ends alive and unchanged until the copy is done.
  virtual uint64_t CopyAsync(std::byte* dst, const std::byte* src, size_t bytes) = 0;
  // Blocks until the copies are done. Unavailable when one of them failed: the bytes it should have written are then
  // undefined and it must be queued again.
  virtual Status Wait(CopyRange copies) = 0;
  virtual bool Done(CopyRange copies) const = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const char* name() const = 0;

  // 64-byte aligned memory, not initialised. Pages are committed when first touched, so that a pool can reserve its
  // largest size at once and never move. ResourceExhausted when the address space or memory is used up.
  virtual Result<Buffer> Allocate(size_t bytes) = 0;
  virtual std::unique_ptr<Stream> NewStream() = 0;

 private:
  friend class Buffer;
  virtual void Free(std::byte* data, size_t bytes) = 0;
};

// RAM, with streams that copy at once. Lives for the process.
Device& CpuDevice();

}  // namespace arkvale
