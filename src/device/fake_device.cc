#include "device/fake_device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <set>
#include <string>

namespace arkvale {

// The destination of a queued copy is filled with 0xff (NaN in every float type) until the copy runs, so that a reader
// that comes too early cannot get a right answer by luck.
class FakeDevice::FakeStream final : public Stream {
 public:
  explicit FakeStream(FakeDevice* device) : device_(device) {}
  ~FakeStream() override {
    auto& all = device_->streams_;
    std::replace(all.begin(), all.end(), this, static_cast<FakeStream*>(nullptr));
  }

  uint64_t CopyAsync(std::byte* dst, const std::byte* src, size_t bytes) override {
    std::memset(dst, 0xff, bytes);
    queue_.push_back({dst, src, bytes});
    return ++queued_;
  }
  bool Done(CopyRange copies) const override { return done_ >= copies.last; }
  Status Wait(CopyRange copies) override {
    while (!Done(copies)) RunOne();
    const auto failed = failed_.lower_bound(copies.first);
    if (failed == failed_.end() || *failed > copies.last) return OkStatus();
    return Unavailable("fake device: copy " + std::to_string(*failed) + " failed");
  }

  bool RunOne() {
    if (queue_.empty()) return false;
    const Copy copy = queue_.front();
    queue_.pop_front();
    ++done_;
    if (device_->fail_after_ >= 0 && device_->fail_after_-- == 0) {
      failed_.insert(done_);
      return true;
    }
    std::memcpy(copy.dst, copy.src, copy.bytes);
    device_->copied_bytes_ += static_cast<int64_t>(copy.bytes);
    return true;
  }
  int64_t queued() const { return static_cast<int64_t>(queue_.size()); }

 private:
  struct Copy {
    std::byte* dst;
    const std::byte* src;
    size_t bytes;
  };
  FakeDevice* device_;
  std::deque<Copy> queue_;
  uint64_t queued_ = 0;
  uint64_t done_ = 0;
  std::set<uint64_t> failed_;
};

Result<Buffer> FakeDevice::Allocate(size_t bytes) {
  const auto n = static_cast<int64_t>(bytes);
  if (limit_bytes_ >= 0 && allocated_bytes_ + n > limit_bytes_) {
    return ResourceExhausted("fake device: " + std::to_string(bytes) + " bytes asked, " +
                             std::to_string(limit_bytes_ - allocated_bytes_) + " left");
  }
  auto* p = static_cast<std::byte*>(::operator new(bytes, std::align_val_t(64), std::nothrow));
  if (p == nullptr) return ResourceExhausted("fake device: out of memory");
  std::memset(p, 0xff, bytes);
  allocated_bytes_ += n;
  return Buffer(this, p, bytes);
}

void FakeDevice::Free(std::byte* data, size_t bytes) {
  allocated_bytes_ -= static_cast<int64_t>(bytes);
  ::operator delete(data, std::align_val_t(64));
}

std::unique_ptr<Stream> FakeDevice::NewStream() {
  auto stream = std::make_unique<FakeStream>(this);
  streams_.push_back(stream.get());
  return stream;
}

bool FakeDevice::RunOne(size_t stream) { return streams_[stream] != nullptr && streams_[stream]->RunOne(); }

int64_t FakeDevice::queued(size_t stream) const { return streams_[stream] == nullptr ? 0 : streams_[stream]->queued(); }

}  // namespace arkvale
