#include "model/gguf_parser.h"

#include <bit>
#include <cstring>
#include <limits>

#include "ggml.h"

namespace arkvale {

namespace {

// The readers that follow refuse more than this, or count it in 32 bits.
constexpr uint64_t kMaxStringBytes = 1ull << 30;
constexpr uint64_t kMaxArrayElements = 1ull << 30;
constexpr uint64_t kMaxAlignment = 1ull << 20;

// Fewest bytes an entry of the header takes: what bounds a count by the size of the file.
constexpr uint64_t kMinValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

uint64_t ScalarBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return 0;
}

bool KnownType(GgufType type) { return static_cast<uint32_t>(type) <= static_cast<uint32_t>(GgufType::kF64); }

// Names are C strings to the readers that follow.
bool GoodName(std::string_view name) { return !name.empty() && name.find('\0') == std::string_view::npos; }

std::string Printable(std::string_view name) {
  std::string out;
  for (const char c : name.substr(0, 64)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return "'" + out + "'";
}

// Bytes of a tensor of known type; false when they do not fit in int64.
bool TensorBytes(const GgufTensor& t, uint64_t& n_bytes) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t elements = 1;
  for (const int64_t n : t.shape) {
    if (elements > kMax / static_cast<uint64_t>(n)) return false;
    elements *= static_cast<uint64_t>(n);
  }
  const auto type = static_cast<enum ggml_type>(t.ggml_type);
  const uint64_t blocks = elements / static_cast<uint64_t>(ggml_blck_size(type));
  if (blocks > kMax / ggml_type_size(type)) return false;
  n_bytes = blocks * ggml_type_size(type);
  return true;
}

}  // namespace

Status GgufParser::Truncated(const std::string& what) const {
  return view_.Error("ends inside " + what + Where() + " of " + std::to_string(view_.file_.size()));
}

template <typename T>
bool GgufParser::Read(T& out) {
  if (left() < sizeof(T)) return false;
  std::memcpy(&out, view_.file_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return true;
}

bool GgufParser::ReadString(std::string_view& out) {
  uint64_t length = 0;
  if (!Read(length) || length > left() || length > kMaxStringBytes) return false;
  out = {reinterpret_cast<const char*>(view_.file_.data() + at_), length};
  at_ += length;
  return true;
}

Status GgufParser::Run() {
  static_assert(std::endian::native == std::endian::little, "GGUF files are little endian");
  ARKVALE_RETURN_IF_ERROR(Header());
  for (uint64_t i = 0; i < n_values_; ++i) ARKVALE_RETURN_IF_ERROR(KeyValue());
  ARKVALE_ASSIGN_OR_RETURN(const auto alignment, view_.U32("general.alignment"));
  alignment_ = alignment.value_or(32);
  if (!std::has_single_bit(alignment_) || alignment_ < 8 || alignment_ > kMaxAlignment) {
    return view_.Error("general.alignment " + std::to_string(alignment_) + " is not a power of two in [8, 2^20]");
  }
  for (uint64_t i = 0; i < n_tensors_; ++i) ARKVALE_RETURN_IF_ERROR(TensorInfo());
  return Extents();
}

Status GgufParser::Header() {
  std::array<char, 4> magic{};
  if (!Read(magic) || std::memcmp(magic.data(), "GGUF", 4) != 0) return view_.Error("not a GGUF file (wrong magic)");
  uint32_t version = 0;
  if (!Read(version)) return Truncated("the version");
  if (version < 2 || version > 3) {
    return view_.Error("GGUF version " + std::to_string(version) + " is not 2 or 3 of little-endian files");
  }
  if (!Read(n_tensors_) || !Read(n_values_)) return Truncated("the header");
  if (n_values_ > left() / kMinValueBytes || n_tensors_ > left() / kMinTensorBytes) {
    return view_.Error(std::to_string(n_values_) + " keys and " + std::to_string(n_tensors_) +
                       " tensors do not fit in " + std::to_string(view_.file_.size()) + " bytes");
  }
  return OkStatus();
}

Status GgufParser::KeyValue() {
  std::string_view key;
  if (!ReadString(key)) return Truncated("the name of key " + std::to_string(view_.keys_.size()));
  if (!GoodName(key)) return view_.Error("key " + Printable(key) + Where() + " is empty or holds a zero byte");
  GgufValue value;
  ARKVALE_RETURN_IF_ERROR(Value(key, value));
  if (!view_.values_.emplace(key, value).second) return view_.Error("key " + Printable(key) + " occurs twice");
  view_.keys_.push_back(key);
  return OkStatus();
}

Status GgufParser::Value(std::string_view key, GgufValue& value) {
  const std::string what = "key " + Printable(key);
  if (!Read(value.type)) return Truncated(what);
  value.element = value.type;
  if (value.type == GgufType::kArray) {
    if (!Read(value.element) || !Read(value.count)) return Truncated(what);
    if (value.element == GgufType::kArray) return view_.Error(what + " is an array of arrays");
    if (value.count > kMaxArrayElements) return view_.Error(what + " has " + std::to_string(value.count) + " elements");
  }
  if (!KnownType(value.element)) {
    return view_.Error(what + " has unknown type " + std::to_string(static_cast<uint32_t>(value.element)));
  }
  if (value.element == GgufType::kString) {
    if (value.type == GgufType::kString) {
      std::string_view text;
      if (!ReadString(text)) return Truncated(what);
      value.bytes = view_.file_.subspan(at_ - text.size(), text.size());
      return OkStatus();
    }
    const uint64_t begin = at_;
    std::string_view text;
    for (uint64_t i = 0; i < value.count; ++i) {
      if (!ReadString(text)) return Truncated(what);
    }
    value.bytes = view_.file_.subspan(begin, at_ - begin);
    return OkStatus();
  }
  const uint64_t n_bytes = value.count * ScalarBytes(value.element);  // <= 2^33
  if (n_bytes > left()) return Truncated(what);
  value.bytes = view_.file_.subspan(at_, n_bytes);
  at_ += n_bytes;
  return OkStatus();
}

Status GgufParser::TensorInfo() {
  GgufTensor t;
  if (!ReadString(t.name)) return Truncated("the name of tensor " + std::to_string(view_.tensors_.size()));
  const std::string what = "tensor " + Printable(t.name);
  if (!GoodName(t.name) || t.name.size() >= GGML_MAX_NAME) {
    return view_.Error(what + " has an empty name, a zero byte in it or more than " +
                       std::to_string(GGML_MAX_NAME - 1) + " bytes");
  }
  uint32_t n_dims = 0;
  if (!Read(n_dims)) return Truncated(what);
  if (n_dims < 1 || n_dims > 4) return view_.Error(what + " has " + std::to_string(n_dims) + " dimensions, not 1 to 4");
  t.n_dims = static_cast<int32_t>(n_dims);
  for (uint32_t i = 0; i < n_dims; ++i) {
    if (!Read(t.shape[i])) return Truncated(what);
    if (t.shape[i] < 1) return view_.Error(what + " has dimension " + std::to_string(t.shape[i]));
  }
  if (!Read(t.ggml_type) || !Read(t.offset)) return Truncated(what);
  const auto type = static_cast<enum ggml_type>(t.ggml_type);
  if (t.ggml_type < 0 || t.ggml_type >= GGML_TYPE_COUNT || ggml_blck_size(type) == 0 || ggml_type_size(type) == 0) {
    return view_.Error(what + " has unknown type " + std::to_string(t.ggml_type));
  }
  if (t.shape[0] % ggml_blck_size(type) != 0) {
    return view_.Error(what + " has rows of " + std::to_string(t.shape[0]) + " elements, not a multiple of the " +
                       std::to_string(ggml_blck_size(type)) + " of a block of " + GgmlTypeName(t.ggml_type));
  }
  if (!TensorBytes(t, t.n_bytes)) return view_.Error(what + " is larger than 2^63 bytes");
  if (!view_.tensor_index_.emplace(t.name, view_.tensors_.size()).second) {
    return view_.Error(what + " occurs twice");
  }
  view_.tensors_.push_back(t);
  return OkStatus();
}

// ggml wants tensors in file order, each on the first aligned byte after the one before it.
Status GgufParser::Extents() {
  const uint64_t size = view_.file_.size();
  const auto align = [this](uint64_t n) { return (n + alignment_ - 1) & ~(alignment_ - 1); };
  const uint64_t data = align(at_);
  uint64_t expected = 0;
  for (GgufTensor& t : view_.tensors_) {
    const std::string what = "tensor " + Printable(t.name);
    if (t.offset != expected) {
      return view_.Error(what + " has offset " + std::to_string(t.offset) + ", expected " + std::to_string(expected));
    }
    if (data > size || expected > size - data || t.n_bytes > size - data - expected) {
      return view_.Error(what + " of " + std::to_string(t.n_bytes) + " bytes at " + std::to_string(data + expected) +
                         " ends after the file's " + std::to_string(size) + " bytes");
    }
    t.offset = data + expected;
    t.data = view_.file_.data() + t.offset;
    expected = align(expected + t.n_bytes);
  }
  return OkStatus();
}

}  // namespace arkvale
