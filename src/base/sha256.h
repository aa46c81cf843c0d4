// SHA-256 (FIPS 180-4), to name files and texts in records. Not for secrets.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "arkvale/status.h"

namespace arkvale {

class Sha256 {
 public:
  void Update(std::string_view bytes);
  // 64 lower-case hex digits of all bytes so far. Ends the object's use.
  std::string HexDigest();

 private:
  static constexpr size_t kBlockBytes = 64;
  void AddBlock(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, kBlockBytes> pending_{};
  uint64_t n_bytes_ = 0;
};

std::string Sha256Hex(std::string_view bytes);
// NotFound where the file cannot be read.
Result<std::string> FileSha256Hex(const std::string& path);

}  // namespace arkvale
