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

  // Takes the whole pages within `bytes`, part of a MappedFile, out of this process's memory. They are still the
  // file's: whoever reads them gets them back from the system's cache, or from the disk.
  static void Drop(std::span<const std::byte> bytes);

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace arkvale
