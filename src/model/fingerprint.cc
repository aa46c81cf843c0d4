#include "model/fingerprint.h"

#include <cstdint>
#include <string_view>

#include "base/sha256.h"

namespace arkvale {
namespace {

constexpr size_t kHexDigits = 32;

// Every number takes 8 bytes, least first, and a length stands before every text: no two lists of fields give the same
// bytes.
class FieldHash {
 public:
  void Add(uint64_t number) {
    char bytes[8];
    for (char& byte : bytes) {
      byte = static_cast<char>(number & 0xff);
      number >>= 8;
    }
    hash_.Update({bytes, sizeof(bytes)});
  }
  void Add(std::string_view text) {
    Add(uint64_t{text.size()});
    hash_.Update(text);
  }
  std::string Hex() { return hash_.HexDigest().substr(0, kHexDigits); }

 private:
  Sha256 hash_;
};

}  // namespace

std::string Fingerprint(const GgufView& view) {
  FieldHash hash;
  hash.Add(uint64_t{view.keys().size()});
  for (const std::string_view key : view.keys()) {
    const GgufValue& value = *view.Find(key);
    hash.Add(key);
    hash.Add(static_cast<uint64_t>(value.type));
    hash.Add(static_cast<uint64_t>(value.element));
    hash.Add(value.count);
    hash.Add({reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  }
  hash.Add(uint64_t{view.tensors().size()});
  for (const GgufTensor& tensor : view.tensors()) {
    hash.Add(tensor.name);
    hash.Add(static_cast<uint64_t>(tensor.ggml_type));
    hash.Add(static_cast<uint64_t>(tensor.n_dims));
    for (const int64_t length : tensor.shape) hash.Add(static_cast<uint64_t>(length));
    hash.Add(tensor.offset);
  }
  hash.Add(static_cast<uint64_t>(view.file_bytes()));
  return hash.Hex();
}

}  // namespace arkvale
