// MappedFile: a file's bytes, read-only, mapped for the life of the object. Owner; movable.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "arkvale/status.h"

namespace arkvale {

class MappedFile {
 public:
  // NotFound when it cannot be opened, Corrupt when it is empty or no regular file.
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& o) noexcept : bytes_(std::exchange(o.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& o) noexcept {
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace arkvale
