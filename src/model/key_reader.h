// KeyReader: the keys `<architecture>.*` of a GGUF file, checked as they are read. Only config*.cc needs it.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "arkvale/status.h"
#include "model/gguf_view.h"

namespace arkvale {

// The first failure sticks, so that a list of keys reads as a list.
class KeyReader {
 public:
  KeyReader(const GgufView& file, std::string_view architecture) : file_(file), prefix_(architecture) {
    prefix_ += '.';
  }

  const GgufView& file() const { return file_; }
  const Status& status() const { return status_; }
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  void Unsupported(const std::string& what) { Fail(InvalidArgument(file_.name() + ": " + what + " is not supported")); }
  std::string Key(std::string_view key) const { return prefix_ + std::string(key); }
  bool Has(std::string_view key) const { return file_.Find(Key(key)) != nullptr; }

  std::optional<uint32_t> MaybeU32(std::string_view key) { return Get<uint32_t>(key, &GgufView::U32); }
  std::optional<float> MaybeF32(std::string_view key) { return Get<float>(key, &GgufView::F32); }
  std::optional<bool> MaybeBool(std::string_view key) { return Get<bool>(key, &GgufView::Bool); }
  std::optional<std::string_view> MaybeString(std::string_view key) {
    return Get<std::string_view>(key, &GgufView::String);
  }

  // In [1, max], required unless a default is given.
  int32_t Size(std::string_view key, uint32_t max, std::optional<uint32_t> missing = std::nullopt) {
    const std::optional<uint32_t> v = Or(MaybeU32(key), missing, key);
    if (v && (*v < 1 || *v > max)) {
      Fail(file_.Error("key " + Key(key) + " is " + std::to_string(*v) + ", not in 1.." + std::to_string(max)));
    }
    return status_.ok() ? static_cast<int32_t>(*v) : 1;
  }

  // Finite and > 0, required unless a default is given.
  float Positive(std::string_view key, std::optional<float> missing = std::nullopt) {
    const std::optional<float> v = Or(MaybeF32(key), missing, key);
    if (v && (!std::isfinite(*v) || *v <= 0)) {
      Fail(file_.Error("key " + Key(key) + " is " + std::to_string(*v) + ", not a positive number"));
    }
    return status_.ok() ? *v : 1.0f;
  }

  // Finite and >= 0.
  float NotNegative(std::string_view key, float missing) {
    const float v = MaybeF32(key).value_or(missing);
    if (!std::isfinite(v) || v < 0) {
      Fail(file_.Error("key " + Key(key) + " is " + std::to_string(v) + ", not a number >= 0"));
    }
    return status_.ok() ? v : 0.0f;
  }

 private:
  template <typename T>
  std::optional<T> Or(std::optional<T> value, std::optional<T> missing, std::string_view key) {
    if (!value) value = missing;
    if (!value) Fail(file_.Error("key " + Key(key) + " is missing"));
    return value;
  }

  template <typename T, typename Getter>
  std::optional<T> Get(std::string_view key, Getter getter) {
    const std::string full = Key(key);
    const GgufValue* value = file_.Find(full);
    if (value != nullptr && value->type == GgufType::kArray) {
      Fail(InvalidArgument(file_.name() + ": key " + full + " has one value per layer, which is not supported"));
      return std::nullopt;
    }
    auto result = (file_.*getter)(full);
    if (!result.ok()) {
      Fail(result.status());
      return std::nullopt;
    }
    return *result;
  }

  const GgufView& file_;
  std::string prefix_;
  Status status_;
};

}  // namespace arkvale
