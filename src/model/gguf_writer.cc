#include "model/gguf_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "ggml.h"

namespace arkvale {

namespace {

template <typename T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Text(std::string_view s) { return Bytes(uint64_t{s.size()}) + std::string(s); }
std::string ArrayHead(GgufType element, size_t n) { return Bytes(element) + Bytes(uint64_t{n}); }

uint64_t Padding(uint64_t n) {
  return (GgufFileWriter::kAlignment - n % GgufFileWriter::kAlignment) % GgufFileWriter::kAlignment;
}

}  // namespace

GgufFileWriter::GgufFileWriter(std::string path)
    : path_(std::move(path)), part_(path_ + "." + std::to_string(getpid()) + ".part") {}

GgufFileWriter::~GgufFileWriter() {
  if (file_ == nullptr) return;
  file_.reset();
  RemovePart();
}

void GgufFileWriter::RemovePart() const {
  std::error_code ignored;
  std::filesystem::remove(part_, ignored);
}

void GgufFileWriter::Key(std::string_view key, GgufType type, std::string_view payload) {
  keys_ += Text(key);
  keys_ += Bytes(type);
  keys_ += payload;
  ++n_keys_;
}

void GgufFileWriter::U32(std::string_view key, uint32_t value) { Key(key, GgufType::kU32, Bytes(value)); }
void GgufFileWriter::U16(std::string_view key, uint16_t value) { Key(key, GgufType::kU16, Bytes(value)); }
void GgufFileWriter::I32(std::string_view key, int32_t value) { Key(key, GgufType::kI32, Bytes(value)); }
void GgufFileWriter::F32(std::string_view key, float value) { Key(key, GgufType::kF32, Bytes(value)); }
void GgufFileWriter::Bool(std::string_view key, bool value) { Key(key, GgufType::kBool, Bytes(value)); }
void GgufFileWriter::String(std::string_view key, std::string_view value) { Key(key, GgufType::kString, Text(value)); }

void GgufFileWriter::I32s(std::string_view key, std::span<const int32_t> values) {
  std::string payload = ArrayHead(GgufType::kI32, values.size());
  payload.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  Key(key, GgufType::kArray, payload);
}

void GgufFileWriter::Strings(std::string_view key, std::span<const std::string> values) {
  std::string payload = ArrayHead(GgufType::kString, values.size());
  for (const std::string& s : values) payload += Text(s);
  Key(key, GgufType::kArray, payload);
}

void GgufFileWriter::Copy(std::string_view key, const GgufValue& value) {
  std::string payload;
  if (value.type == GgufType::kArray) payload = ArrayHead(value.element, value.count);
  if (value.type == GgufType::kString) payload = Bytes(uint64_t{value.bytes.size()});
  payload.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  Key(key, value.type, payload);
}

void GgufFileWriter::Tensor(std::string_view name, std::span<const int64_t> shape, int32_t ggml_type) {
  Entry entry{std::string(name), {1, 1, 1, 1}, static_cast<uint32_t>(shape.size()), ggml_type, 0};
  std::copy(shape.begin(), shape.end(), entry.shape.begin());
  const auto rows = static_cast<uint64_t>(entry.shape[1] * entry.shape[2] * entry.shape[3]);
  entry.n_bytes = rows * ggml_row_size(static_cast<enum ggml_type>(ggml_type), entry.shape[0]);
  tensor_bytes_ += static_cast<int64_t>(entry.n_bytes);
  tensors_.push_back(std::move(entry));
}

std::string GgufFileWriter::Header() const {
  std::string header = "GGUF" + Bytes(uint32_t{3}) + Bytes(uint64_t{tensors_.size()}) + Bytes(n_keys_) + keys_;
  uint64_t offset = 0;
  for (const Entry& t : tensors_) {
    header += Text(t.name) + Bytes(t.n_dims);
    for (uint32_t d = 0; d < t.n_dims; ++d) header += Bytes(t.shape[d]);
    header += Bytes(t.ggml_type) + Bytes(offset);
    offset += t.n_bytes + Padding(t.n_bytes);
  }
  header.resize(header.size() + Padding(header.size()));
  return header;
}

Status GgufFileWriter::WriteError() const {
  const int error = errno;
  const std::string message = path_ + ": " + std::strerror(error);
  if (error == ENOSPC || error == EFBIG || error == EDQUOT) {
    return ResourceExhausted(message + ": free some room or name another disk");
  }
  return error == ENOENT || error == ENOTDIR ? NotFound(message) : Internal(message);
}

Status GgufFileWriter::Begin() {
  errno = 0;
  file_.reset(std::fopen(part_.c_str(), "wb"));
  if (file_ == nullptr) return WriteError();
  const std::string header = Header();
  std::error_code error;
  const auto space = std::filesystem::space(part_, error);
  const uint64_t wanted = header.size() + static_cast<uint64_t>(tensor_bytes_) + tensors_.size() * kAlignment;
  if (!error && space.available < wanted) {
    return ResourceExhausted(path_ + ": the file needs " + std::to_string(wanted) + " bytes, the disk has " +
                             std::to_string(space.available) + " free: free some room or name another disk");
  }
  return Write(std::as_bytes(std::span(header)));
}

Status GgufFileWriter::Write(std::span<const std::byte> bytes) {
  errno = 0;
  return std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size() ? OkStatus() : WriteError();
}

Status GgufFileWriter::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (tensor_ == tensors_.size()) return Internal(path_ + ": more bytes than the tensors have");
    const uint64_t n_bytes = tensors_[tensor_].n_bytes;
    const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), n_bytes - in_tensor_));
    ARKVALE_RETURN_IF_ERROR(Write(bytes.first(n)));
    bytes = bytes.subspan(n);
    in_tensor_ += n;
    if (in_tensor_ < n_bytes) continue;
    constexpr std::array<std::byte, kAlignment> kZeros{};
    ARKVALE_RETURN_IF_ERROR(Write(std::span(kZeros).first(Padding(n_bytes))));
    ++tensor_;
    in_tensor_ = 0;
  }
  return OkStatus();
}

Status GgufFileWriter::Finish() {
  if (tensor_ != tensors_.size()) {
    return Internal(path_ + ": tensor '" + tensors_[tensor_].name + "' lacks " +
                    std::to_string(tensors_[tensor_].n_bytes - in_tensor_) + " bytes");
  }
  errno = 0;
  if (std::fclose(file_.release()) != 0) {
    Status status = WriteError();
    RemovePart();
    return status;
  }
  std::error_code error;
  std::filesystem::rename(part_, path_, error);
  if (!error) return OkStatus();
  RemovePart();
  return Internal(path_ + ": " + error.message());
}

}  // namespace arkvale
