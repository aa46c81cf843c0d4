// GgufView: an index of a GGUF file's bytes (github.com/ggml-org/ggml docs/gguf.md), made by a reader that trusts none
// of them. Everything of src/model that reads metadata reads it here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arkvale/status.h"
#include "ops/weight.h"

namespace arkvale {

// The numbers of the file format.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// One metadata value as it lies in the file, unaligned.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // of an array; else equal to type
  uint64_t count = 1;                // elements of an array
  std::span<const std::byte> bytes;  // a string without its length; string arrays: length and bytes of each in turn
};

struct GgufTensor {
  std::string_view name;
  int32_t ggml_type = 0;
  int32_t n_dims = 0;
  std::array<int64_t, 4> shape{1, 1, 1, 1};  // fastest dimension first, as ggml counts
  uint64_t offset = 0;                       // of the first byte in its file
  uint64_t n_bytes = 0;
  const std::byte* data = nullptr;
};

// Borrows the bytes it was made of: they must outlive it. Immutable but for AddTensorsOf.
class GgufView {
 public:
  // Corrupt names what is wrong: magic, version (2 and 3 are read), counts against the size, types, duplicate or empty
  // names, dimensions, alignment, offsets and extents. Allocates nothing that the file's real size does not cover.
  // `name` is put before every message.
  static Result<GgufView> Parse(std::span<const std::byte> file, std::string name);

  // Takes over the tensors of the next part of a split model. Corrupt where a name occurs in both.
  Status AddTensorsOf(const GgufView& part);

  const std::string& name() const { return name_; }
  int32_t n_parts() const { return n_parts_; }        // 1 + those added
  int64_t file_bytes() const { return file_bytes_; }  // of all parts
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const std::vector<std::string_view>& keys() const { return keys_; }  // in file order

  const GgufValue* Find(std::string_view key) const;  // null when absent
  const GgufTensor* FindTensor(std::string_view name) const;

  // nullopt when the key is absent, Corrupt when it has another type. libllama reads keys just as strictly.
  Result<std::optional<uint16_t>> U16(std::string_view key) const;
  Result<std::optional<int32_t>> I32(std::string_view key) const;
  Result<std::optional<uint32_t>> U32(std::string_view key) const;
  Result<std::optional<float>> F32(std::string_view key) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string_view>> String(std::string_view key) const;
  // Views on every element of a string array, in order; nullopt and Corrupt as above.
  Result<std::optional<std::vector<std::string_view>>> Strings(std::string_view key) const;

  // The tensor as a matrix [shape[1] * shape[2] * shape[3], shape[0]]; a vector is one row.
  WeightView Weight(const GgufTensor& tensor) const;

  Status Error(const std::string& what) const { return Corrupt(name_ + ": " + what); }

 private:
  friend class GgufParser;
  std::string name_;
  std::span<const std::byte> file_;
  int64_t file_bytes_ = 0;
  int32_t n_parts_ = 1;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

// ggml's name of a tensor type, for messages.
std::string GgmlTypeName(int32_t ggml_type);
std::string_view GgufTypeName(GgufType type);

}  // namespace arkvale
