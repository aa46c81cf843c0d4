#include "model/gguf_view.h"

#include <cstring>
#include <iterator>
#include <utility>

#include "ggml.h"
#include "model/gguf_parser.h"

namespace arkvale {

namespace {

template <typename T>
T Load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  static constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                "bool", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<uint32_t>(type);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

std::string GgmlTypeName(int32_t ggml_type) {
  if (ggml_type < 0 || ggml_type >= GGML_TYPE_COUNT) return "type " + std::to_string(ggml_type);
  const char* name = ggml_type_name(static_cast<enum ggml_type>(ggml_type));
  return name != nullptr ? name : "type " + std::to_string(ggml_type);
}

Result<GgufView> GgufView::Parse(std::span<const std::byte> file, std::string name) {
  GgufView view;
  view.name_ = std::move(name);
  view.file_ = file;
  view.file_bytes_ = static_cast<int64_t>(file.size());
  ARKVALE_RETURN_IF_ERROR(GgufParser(view).Run());
  return view;
}

const GgufValue* GgufView::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

const GgufTensor* GgufView::FindTensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

namespace {

// The value when it has the wanted type, null when it is absent.
Result<const GgufValue*> Typed(const GgufView& view, std::string_view key, GgufType wanted, GgufType element) {
  const GgufValue* value = view.Find(key);
  if (value == nullptr) return value;
  if (value->type != wanted || value->element != element) {
    const std::string array = value->type == GgufType::kArray ? "array of " : "";
    const std::string wanted_array = wanted == GgufType::kArray ? "array of " : "";
    return view.Error("key " + std::string(key) + " is " + array + std::string(GgufTypeName(value->element)) +
                      ", expected " + wanted_array + std::string(GgufTypeName(element)));
  }
  return value;
}

}  // namespace

Result<std::optional<uint16_t>> GgufView::U16(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kU16, GgufType::kU16));
  return v ? std::optional(Load<uint16_t>(v->bytes)) : std::nullopt;
}

Result<std::optional<int32_t>> GgufView::I32(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kI32, GgufType::kI32));
  return v ? std::optional(Load<int32_t>(v->bytes)) : std::nullopt;
}

Result<std::optional<uint32_t>> GgufView::U32(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kU32, GgufType::kU32));
  return v ? std::optional(Load<uint32_t>(v->bytes)) : std::nullopt;
}

Result<std::optional<float>> GgufView::F32(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kF32, GgufType::kF32));
  return v ? std::optional(Load<float>(v->bytes)) : std::nullopt;
}

Result<std::optional<bool>> GgufView::Bool(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kBool, GgufType::kBool));
  return v ? std::optional(Load<uint8_t>(v->bytes) != 0) : std::nullopt;
}

Result<std::optional<std::string_view>> GgufView::String(std::string_view key) const {
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kString, GgufType::kString));
  if (v == nullptr) return std::optional<std::string_view>();
  return std::optional(std::string_view(reinterpret_cast<const char*>(v->bytes.data()), v->bytes.size()));
}

Result<std::optional<std::vector<std::string_view>>> GgufView::Strings(std::string_view key) const {
  using Out = std::optional<std::vector<std::string_view>>;
  ARKVALE_ASSIGN_OR_RETURN(const GgufValue* v, Typed(*this, key, GgufType::kArray, GgufType::kString));
  if (v == nullptr) return Out();
  std::vector<std::string_view> strings;
  strings.reserve(v->count);
  const std::byte* at = v->bytes.data();  // Parse has checked every length
  for (uint64_t i = 0; i < v->count; ++i) {
    uint64_t length;
    std::memcpy(&length, at, sizeof(length));
    strings.emplace_back(reinterpret_cast<const char*>(at) + sizeof(length), length);
    at += sizeof(length) + length;
  }
  return Out(std::move(strings));
}

Status GgufView::AddTensorsOf(const GgufView& part) {
  for (const GgufTensor& tensor : part.tensors_) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      return part.Error("tensor '" + std::string(tensor.name) + "' is in another part too");
    }
    tensors_.push_back(tensor);
  }
  file_bytes_ += part.file_bytes_;
  ++n_parts_;
  return OkStatus();
}

WeightView GgufView::Weight(const GgufTensor& tensor) const {
  WeightView w;
  w.data = tensor.data;
  w.ggml_type = tensor.ggml_type;
  w.cols = tensor.shape[0];
  w.rows = tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
  w.row_bytes = static_cast<int64_t>(tensor.n_bytes / static_cast<uint64_t>(w.rows));
  return w;
}

}  // namespace arkvale
