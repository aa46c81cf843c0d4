#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "device/device.h"

namespace arkvale {
namespace {

class CpuStream final : public Stream {
 public:
  uint64_t CopyAsync(std::byte* dst, const std::byte* src, size_t bytes) override {
    std::memcpy(dst, src, bytes);
    return ++queued_;
  }
  Status Wait(CopyRange) override { return OkStatus(); }
  bool Done(CopyRange) const override { return true; }

 private:
  uint64_t queued_ = 0;
};

class Cpu final : public Device {
 public:
  const char* name() const override { return "cpu"; }

  Result<Buffer> Allocate(size_t bytes) override {
    if (bytes == 0) return Buffer();
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
      return ResourceExhausted("cannot reserve " + std::to_string(bytes) +
                               " bytes of address space: " + std::strerror(errno));
    }
    return Buffer(this, static_cast<std::byte*>(p), bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return std::make_unique<CpuStream>(); }

 private:
  void Free(std::byte* data, size_t bytes) override { munmap(data, bytes); }
};

}  // namespace

Buffer::~Buffer() {
  if (data_ != nullptr) device_->Free(data_, bytes_);
}

Device& CpuDevice() {
  static Cpu device;
  return device;
}

}  // namespace arkvale
