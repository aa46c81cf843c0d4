// GgufFileWriter: writes a GGUF v3 file (github.com/ggml-org/ggml docs/gguf.md) from front to back, so that a file
// larger than memory can be made.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"
#include "model/gguf_view.h"

namespace arkvale {

// Keys and tensors first, then Begin, then the tensors' bytes in the order of their table, then Finish. The file stands
// under a temporary name beside `path` until Finish renames it; without Finish it is removed. One thread.
class GgufFileWriter {
 public:
  static constexpr uint64_t kAlignment = 32;  // of tensor data; the format's default

  explicit GgufFileWriter(std::string path);
  ~GgufFileWriter();
  GgufFileWriter(const GgufFileWriter&) = delete;
  GgufFileWriter& operator=(const GgufFileWriter&) = delete;

  // Keys are written in the order given; each must be given once.
  void U32(std::string_view key, uint32_t value);
  void F32(std::string_view key, float value);
  void Bool(std::string_view key, bool value);
  void String(std::string_view key, std::string_view value);
  void U16(std::string_view key, uint16_t value);
  void I32(std::string_view key, int32_t value);
  void I32s(std::string_view key, std::span<const int32_t> values);
  void Strings(std::string_view key, std::span<const std::string> values);
  void Copy(std::string_view key, const GgufValue& value);  // as it lies in another file

  // shape: fastest dimension first, as ggml counts; its bytes are those of whole blocks of the ggml type.
  void Tensor(std::string_view name, std::span<const int64_t> shape, int32_t ggml_type);

  // Bytes of all tensors of the table, without padding.
  int64_t tensor_bytes() const { return tensor_bytes_; }

  // Writes all that lies before the tensor data. NotFound: no such folder. ResourceExhausted: the disk has less room
  // than the file needs. Internal: the file cannot be made.
  Status Begin();
  // The next bytes of tensor data; padding between tensors is added here. ResourceExhausted: disk full.
  Status Append(std::span<const std::byte> bytes);
  // Internal where bytes are missing.
  Status Finish();

 private:
  struct Entry {
    std::string name;
    std::array<int64_t, 4> shape;
    uint32_t n_dims;
    int32_t ggml_type;
    uint64_t n_bytes;
  };
  struct CloseFile {
    void operator()(FILE* file) const { std::fclose(file); }
  };

  void Key(std::string_view key, GgufType type, std::string_view payload);
  std::string Header() const;
  Status Write(std::span<const std::byte> bytes);
  Status WriteError() const;
  void RemovePart() const;

  const std::string path_, part_;
  std::string keys_;
  uint64_t n_keys_ = 0;
  std::vector<Entry> tensors_;
  int64_t tensor_bytes_ = 0;
  std::unique_ptr<FILE, CloseFile> file_;
  size_t tensor_ = 0;       // that the next byte belongs to
  uint64_t in_tensor_ = 0;  // bytes of it written
};

}  // namespace arkvale
